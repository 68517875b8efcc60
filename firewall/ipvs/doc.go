// Package ipvs reads what IPVS serves on this host: its services, their real servers, and which of
// them stand at addresses that the host holds for IPVS alone.
//
// Services are read from /proc/net/ip_vs, not over generic netlink: to ask for the netlink family
// by name has the kernel load the module where nobody uses it. Addresses come over rtnetlink. The
// kernel sends no notification for services: Watch hears of addresses, and looks again each second
// while an interface holds some.
//
// The package never changes anything.
package ipvs

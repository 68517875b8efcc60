package iana

import (
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Known is the port of a service by a name that people write, or a range: "2379-2380". udp says
// that the service speaks UDP alone. Names are those of services, and those that ufw, firewalld and
// the programs themselves use.
//
// It is for hints and for names, never for what is open: that would depend on who knows a name.
func Known(name string) (ports string, udp, ok bool) {
	udp = slices.Contains(overUDP, name)
	if ports, ok = otherNames[name]; ok {
		return ports, udp, true
	}
	if slices.Contains(usualNames, name) || slices.Contains(alsoKnown, name) {
		return strconv.Itoa(int(services[name])), udp, true
	}
	return "", false, false
}

// UsualName is what people call the service of a port; "" if it has no usual name.
func UsualName(port uint16) string { return usual()[strconv.Itoa(int(port))] }

var usual = sync.OnceValue(func() map[string]string {
	names := map[string]string{}
	for _, name := range usualNames {
		ports, _, _ := Known(name)
		names[ports] = name
	}
	return names
})

// usualNames are those that stand for their port, which either services or otherNames has.
var usualNames = strings.Fields(`
	bgp dhcp dhcpv6 dhcpv6-client dns dns-over-tls elasticsearch ftp ftp-data ftps http http-alt https
	imap imaps ipp ipsec-nat isakmp iscsi kerberos kubernetes ldap ldaps llmnr mdns memcached mongodb
	mqtt mysql netbios netbios-ssn nfs nntp node-exporter nrpe ntp openvpn pop3 pop3s postgresql
	prometheus rdp redis rpcbind rsync rtsp sieve sip sips smb smtp snmp snmp-trap ssdp ssh stun
	submission submissions syslog telnet tftp vnc wireguard zabbix-agent`)

// alsoKnown are names in services that people write and that aren't what the port is called.
var alsoKnown = strings.Fields(`
	amqp amqps domain git postgres radius smtps xmpp-client xmpp-server`)

var overUDP = strings.Fields(`
	dhcp dhcpv6 dhcpv6-client ipsec ipsec-nat isakmp llmnr mdns mosh netbios ntp openvpn radius snmp
	snmp-trap ssdp syslog tftp wireguard`)

// otherNames are names that services lacks, or has for another port.
var otherNames = map[string]string{
	"dhcp": "67", "dhcpv6": "547", "dns": "53", "dns-over-tls": "853", "etcd": "2379-2380",
	"grafana": "3000", "ipsec": "500", "ipsec-nat": "4500", "iscsi": "3260", "kafka": "9092",
	"kubernetes": "6443", "mosh": "60000-61000", "netbios": "137", "node-exporter": "9100",
	"openssh": "22", "prometheus": "9090", "rdp": "3389", "rpcbind": "111", "sips": "5061",
	"smb": "445", "ssdp": "1900", "vnc": "5900", "wireguard": "51820",
}

// Package backendtest holds what the tests of every backend share: States that use each feature,
// random States and the packets to judge them by, a namespace to work in, and the suite of
// properties that any firewall.Backend must have, whatever kernel interface it speaks to.
//
// It is imported by tests only. What packets really experience is judged in test/e2e.
package backendtest

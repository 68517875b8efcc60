// Package control measures the control path: how long it takes until a list of prefixes is in the kernel, changed in it, replaced, read
// back. Portgrave and its peers do it in turn, in the same run, each as an administrator would run it: as a program, from its start to its
// end.
//
// Everything happens in network namespaces that are made for it, one for each contestant and round; the namespace this package is called in is never changed. A measurement
// that takes longer than it may is killed, noted, and not tried again.
package control

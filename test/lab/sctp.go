package lab

import (
	"errors"
	"net/netip"
)

func connectSCTP(netip.AddrPort, asking) (Answer, error) { return Failed, errors.New("sctp") }

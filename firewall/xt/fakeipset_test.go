package xt

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
)

// setMessages is how the kernel tells of sets that `ipset save` would print so.
func setMessages(save string) []netlink.Message {
	var out []netlink.Message
	number := func(b []byte, kind uint16, s string) []byte {
		n, err := strconv.ParseUint(s, 0, 32)
		if err != nil {
			panic(fmt.Sprintf("%q: %v", save, err))
		}
		return netlink.AppendBytes(b, kind, binary.BigEndian.AppendUint32(nil, uint32(n)))
	}
	create := map[string]uint16{
		"hashsize":   ipsetHashSize,
		"maxelem":    ipsetMaxElem,
		"bucketsize": ipsetBucketSize,
		"initval":    ipsetInitval,
		"timeout":    ipsetTimeout,
		"netmask":    20,
	}
	for text := range strings.Lines(save) {
		words := strings.Fields(text)
		message := netlink.AppendString(nil, ipsetSetName, words[1])
		var data []byte
		if words[0] == "create" {
			family := byte(2)
			for i := 3; i < len(words); i += 2 {
				if words[i] == "family" && words[i+1] == "inet6" {
					family = 10
				} else if words[i] != "family" {
					data = number(data, create[words[i]], words[i+1])
				}
			}
			message = netlink.AppendBytes(
				netlink.AppendString(message, ipsetTypeName, words[2]),
				ipsetFamily,
				[]byte{family},
			)
			message = netlink.AppendBytes(message, ipsetData, data)
		} else {
			address, port, isService := strings.Cut(words[2], ",")
			p, ok := parsePrefix(address)
			if !ok {
				panic(save)
			}
			version := uint16(1)
			if p.Addr().Is6() {
				version = 2
			}
			data = netlink.AppendBytes(
				data, ipsetIP, netlink.AppendBytes(nil, version, p.Addr().AsSlice()),
			)
			if isService {
				name, number, _ := strings.Cut(port, ":")
				protocol, _ := firewall.ParseProtocol(name)
				n, _ := strconv.Atoi(number)
				data = netlink.AppendBytes(
					data, ipsetPort, binary.BigEndian.AppendUint16(nil, uint16(n)),
				)
				data = netlink.AppendBytes(data, ipsetProto, []byte{byte(protocol)})
			} else {
				data = netlink.AppendBytes(data, ipsetCIDR, []byte{byte(p.Bits())})
			}
			for i := 3; i < len(words); i++ {
				if words[i] == "nomatch" {
					data = netlink.AppendBytes(data, 8, []byte{0, 0, 0, 4})
				} else {
					data = number(data, ipsetTimeout, words[i+1])
					i++
				}
			}
			message = netlink.AppendBytes(
				message, ipsetADT, netlink.AppendBytes(nil, ipsetData, data),
			)
		}
		out = append(out, netlink.Message{Attributes: message})
	}
	return out
}

func readMessages(r *ruleset, messages []netlink.Message, now time.Time) error {
	reader := setReader{r.sets, now}
	for _, m := range messages {
		if err := reader.message(m); err != nil {
			return err
		}
	}
	reader.done()
	return nil
}

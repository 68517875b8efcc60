package exposure

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	ex "github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/test/lab"
)

// Attributes of a trace message and its types (enum nft_trace_attributes, nft_trace_types,
// include/uapi/linux/netfilter/nf_tables.h), and its group.
const (
	traceTable      = 1
	traceChain      = 2
	traceRuleHandle = 3
	traceType       = 4
	traceID         = 6
	traceNetwork    = 8
	traceTransport  = 9

	traceTypePolicy = 1
	traceTypeRule   = 3

	groupTrace = 9  // NFNLGRP_NFTRACE
	msgTrace   = 17 // NFT_MSG_TRACE
)

// trace is the kernel's trace of one packet: a line for each rule that matched to its end, and for
// each policy.
type trace struct {
	network, transport []byte
	lines              []string
}

// tracer collects traces from a node.
type tracer struct {
	conn   *netlink.Conn
	mu     sync.Mutex
	traces map[uint32]*trace
	done   sync.WaitGroup
}

func newTracer(t testing.TB, n *lab.Node) *tracer {
	tr := &tracer{traces: map[uint32]*trace{}}
	err := n.Do(func() error {
		c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return err
		}
		tr.conn = c
		_ = c.SetOption(netlink.NoENOBUFS, true)
		if err := c.SetReadBuffer(32 << 20); err != nil {
			return err
		}
		return c.JoinGroup(groupTrace)
	})
	if err != nil {
		t.Fatal(err)
	}
	tr.done.Add(1)
	go func() {
		defer tr.done.Done()
		for {
			messages, err := tr.conn.Receive()
			if err != nil {
				return
			}
			for _, m := range messages {
				if m.Header.Type == netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8|msgTrace) &&
					len(m.Data) > 4 {
					tr.take(m.Data)
				}
			}
		}
	}()
	t.Cleanup(func() { _ = tr.conn.Close(); tr.done.Wait() })
	return tr
}

func (tr *tracer) take(data []byte) {
	attrs, err := netlink.UnmarshalAttributes(data[4:])
	if err != nil {
		return
	}
	family := ex.Family(data[0]).String()
	var id, kind uint32
	var table, chain string
	var handle uint64
	var network, transport []byte
	for _, a := range attrs {
		switch a.Type &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER) {
		case traceTable:
			table = strings.TrimRight(string(a.Data), "\x00")
		case traceChain:
			chain = strings.TrimRight(string(a.Data), "\x00")
		case traceRuleHandle:
			handle = binary.BigEndian.Uint64(a.Data)
		case traceType:
			kind = binary.BigEndian.Uint32(a.Data)
		case traceID:
			id = binary.BigEndian.Uint32(a.Data)
		case traceNetwork:
			network = a.Data
		case traceTransport:
			transport = a.Data
		}
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	x := tr.traces[id]
	if x == nil {
		x = &trace{}
		tr.traces[id] = x
	}
	if x.network == nil {
		x.network, x.transport = network, transport
	}
	switch kind {
	case traceTypeRule:
		if handle == 0 {
			return // the end of a chain
		}
		x.lines = append(x.lines, fmt.Sprintf("%s %s %s rule %d", family, table, chain, handle))
	case traceTypePolicy:
		x.lines = append(x.lines, fmt.Sprintf("%s %s %s policy", family, table, chain))
	}
}

// from is the packet's source and destination port.
func (x *trace) from() (netip.Addr, uint16) {
	if len(x.transport) < 4 {
		return netip.Addr{}, 0
	}
	port := binary.BigEndian.Uint16(x.transport[2:])
	switch {
	case len(x.network) >= 40 && x.network[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(x.network[8:24])), port
	case len(x.network) >= 20:
		return netip.AddrFrom4([4]byte(x.network[12:16])), port
	}
	return netip.Addr{}, 0
}

// handles sets the kernel's handles on the model's rules.
func handles(t testing.TB, n *lab.Node, rs *ex.Ruleset) {
	var list struct {
		Nftables []struct {
			Rule *struct {
				Family, Table, Chain string
				Handle               uint64
			}
		}
	}
	if err := json.Unmarshal(
		[]byte(n.Run("nft", "-j", "-a", "list", "ruleset")), &list,
	); err != nil {
		t.Fatal(err)
	}
	byChain := map[string][]uint64{}
	for _, o := range list.Nftables {
		if r := o.Rule; r != nil {
			where := r.Family + " " + r.Table + " " + r.Chain
			byChain[where] = append(byChain[where], r.Handle)
		}
	}
	for _, table := range rs.Tables {
		for _, chain := range table.Chains {
			got := byChain[chain.Where()]
			if len(got) != len(chain.Rules) {
				t.Fatalf("%s: %d rules of %d", chain.Where(), len(got), len(chain.Rules))
			}
			for i, h := range got {
				chain.Rules[i].Handle = h
			}
		}
	}
}

// path is the evaluator's path as lines of a trace. It is false if the path isn't certain.
func path(
	t testing.TB,
	e *ex.Evaluator,
	q ex.Question,
	source netip.Addr,
) (lines []string, known bool) {
	x, err := e.Explain(q, source)
	if err != nil {
		t.Fatal(err)
	}
	known = true
	for _, s := range x.Steps {
		if s.Reply {
			continue // answers aren't traced
		}
		known = known && s.Way == 0 && s.Match != ex.Maybe
		switch {
		case s.Match != ex.Yes || s.Chain == "":
		case s.Rule == "":
			lines = append(lines, fmt.Sprintf("%s %s %s policy", s.Family, s.Table, s.Chain))
		default:
			lines = append(
				lines,
				fmt.Sprintf("%s %s %s rule %d", s.Family, s.Table, s.Chain, s.Handle),
			)
		}
	}
	return lines, known
}

// The evaluator's path equals the kernel's, rule by rule.
func TestKernelTracesTheSamePath(t *testing.T) {
	t.Parallel()
	j := newJudge(t, "nft")
	j.host = readHost(t, j.w.Host)
	same, steps, cut := 0, 0, 0
	first := setting("PORTGRAVE_SEED", 1)
	rulesets := setting("PORTGRAVE_RULESETS", defaultRulesets) / 2
	for seed := uint64(first); seed < uint64(first+rulesets); seed++ {
		g := newGenerator(seed)
		d := g.description(seed)
		d.tables = slices.DeleteFunc(d.tables, func(t *table) bool { return t.legacy })
		// Packets from outside are traced from the first hook on.
		d.tables = append(
			[]*table{
				{
					family: ex.FamilyNetdev,
					name:   "trace",
					chains: []*chain{{name: "on", hook: `ingress device "eth0"`,
						base: &ex.Base{
							Hook:     ex.HookIngress,
							Priority: -500,
							Devices:  []string{"eth0"},
							Policy:   ex.VerdictAccept,
						},
						rules: []*rule{
							{
								[]ex.Statement{ex.NoEffect{Text: "meta nftrace set 1"}},
								"meta nftrace set 1",
							},
						}}},
				},
			},
			d.tables...)
		if err := j.load(d); err != nil {
			t.Logf("seed %d was refused: %v", seed, err)
			continue
		}
		rs := d.model()
		handles(t, j.w.Host, rs)
		// The reader's rules already have the kernel's handles.
		views := []view{{"the description", ex.NewEvaluator(rs, j.host).NeighboursKnown()}, j.views(d)[2]}
		tr := newTracer(t, j.w.Host)
		var questions []ex.Question
		var probes []lab.Question
		for _, f := range address.Families {
			q := ex.Question{
				Family:      f,
				Protocol:    pick(g, firewall.TCP, firewall.UDP),
				Interface:   "eth0",
				Destination: g.dest(f),
				Port:        uint16(pick(g, ports...)),
			}
			some := sources(f, g)
			for _, s := range some[:min(8, len(some))] {
				questions = append(questions, q)
				probes = append(
					probes,
					lab.Question{
						Source: s,
						To:     netip.AddrPortFrom(q.Destination, q.Port),
						Over:   lab.Protocol(q.Protocol),
					},
				)
			}
		}
		j.w.ProbeEach(j.w.Internet, probes, lab.Attempts(1), lab.Rate(500))
		time.Sleep(20 * time.Millisecond)
		tr.mu.Lock()
		for i, q := range questions {
			for _, v := range views {
				want, known := path(t, v.e, q, probes[i].Source)
				if !known {
					continue
				}
				for _, got := range tr.traces {
					if a, port := got.from(); a != probes[i].Source || port != q.Port {
						continue
					}
					if len(got.lines) < len(want) &&
						slices.Equal(got.lines, want[:len(got.lines)]) {
						cut++ // messages can be lost, and packets share an id by chance
						continue
					}
					if !slices.Equal(got.lines, want) {
						t.Errorf(
							"seed %d, %v %v -> %v:%d: the kernel's path is\n\t%s\nthe evaluator's, by %s,\n\t%s\n%v",
							seed,
							q.Protocol,
							probes[i].Source,
							q.Destination,
							q.Port,
							strings.Join(got.lines, "\n\t"),
							v.name,
							strings.Join(want, "\n\t"),
							d,
						)
						tr.mu.Unlock()
						return
					}
					same, steps = same+1, steps+len(want)
				}
			}
		}
		tr.mu.Unlock()
	}
	t.Logf("%d packets, %d steps; %d traces were cut short", same, steps, cut)
	if same == 0 || cut > same/50+1 {
		t.Errorf("%d traces came whole, %d were cut short", same, cut)
	}
}

package daemon

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// What is measured. Labels have as many values as the policy has services; none comes from packets.
var (
	descBuild = prometheus.NewDesc(
		"portgrave_build_info",
		"The version, as a label; always 1.",
		[]string{"version", "backend"},
		nil,
	)
	descGeneration = prometheus.NewDesc(
		"portgrave_generation",
		"The generation in force; 0: none.",
		nil,
		nil,
	)
	descWaiting = prometheus.NewDesc(
		"portgrave_policy_waiting",
		"1 if the policy as it is now waits for portgrave apply or reload; 0 otherwise.",
		nil,
		nil,
	)
	descValid = prometheus.NewDesc(
		"portgrave_policy_valid",
		"1 if the policy as it is now is in force or could be; 0 if it was refused.",
		nil,
		nil,
	)
	descRead = prometheus.NewDesc(
		"portgrave_policy_read_timestamp_seconds",
		"When the policy was last read.",
		nil,
		nil,
	)
	descEnforced = prometheus.NewDesc(
		"portgrave_enforced_timestamp_seconds",
		"When the kernel was last seen to hold the generation in force.",
		nil,
		nil,
	)
	descErrors = prometheus.NewDesc(
		"portgrave_enforce_errors_total",
		"Attempts to enforce that failed.",
		nil,
		nil,
	)
	descEvents = prometheus.NewDesc(
		"portgrave_events_total",
		"What happened to the rules, by kind: repaired, failed, hook, fight, exposure.",
		[]string{"kind"},
		nil,
	)
	descStale = prometheus.NewDesc(
		"portgrave_stale_networks",
		"Networks whose source fails and that keep their last good content.",
		nil,
		nil,
	)
	descExpiring = prometheus.NewDesc(
		"portgrave_expiring_sources",
		"Sources in force that end by themselves.",
		nil,
		nil,
	)
	descNextExpiry = prometheus.NewDesc(
		"portgrave_next_expiry_timestamp_seconds",
		"When the next of them ends; 0: there are none.",
		nil,
		nil,
	)
	descLeases   = prometheus.NewDesc("portgrave_leases", "Leases that run.", nil, nil)
	descLeaseEnd = prometheus.NewDesc(
		"portgrave_next_lease_end_timestamp_seconds",
		"When the next of them ends; 0: there are none.",
		nil,
		nil,
	)
	descBoot = prometheus.NewDesc(
		"portgrave_boot_fallbacks",
		"What this start of the system could not put in force: 0 if all is as it was before; absent "+
			"if portgrave had no part in it.",
		[]string{"loaded"},
		nil,
	)
	descShield = prometheus.NewDesc(
		"portgrave_protection_wanted",
		"1 if nobody else shall be able to change the rules.",
		nil,
		nil,
	)
	descProtected = prometheus.NewDesc(
		"portgrave_protected",
		"1 if nobody else can change the rules.",
		nil,
		nil,
	)
	descTracked = prometheus.NewDesc(
		"portgrave_conntrack_connections",
		"Connections that the kernel tracks.",
		nil,
		nil,
	)
	descTrackable = prometheus.NewDesc(
		"portgrave_conntrack_connections_limit",
		"Connections that the kernel tracks at most; a packet that begins one more is dropped.",
		nil,
		nil,
	)
	descMissing = prometheus.NewDesc(
		"portgrave_rules_missing_seconds_total",
		"How long rules were missing from the kernel, since others had removed them.",
		nil,
		nil,
	)
	descFight = prometheus.NewDesc(
		"portgrave_fight",
		"1 while another program keeps undoing the rules.",
		nil,
		nil,
	)
	descFightShare = prometheus.NewDesc(
		"portgrave_fight_rules_missing_ratio",
		"Which part of the time rules were missing in that fight, or the last one; 0 if there was none.",
		nil,
		nil,
	)
	descState = prometheus.NewDesc(
		"portgrave_state_usable",
		"0 while the state directory can't be read or written, and what is in force is kept up from "+
			"memory; else 1.",
		nil,
		nil,
	)
	descReduced = prometheus.NewDesc(
		"portgrave_reduced",
		"1 while a small table stands in for the generation in force.",
		nil,
		nil,
	)
	descExposures = prometheus.NewDesc(
		"portgrave_exposures",
		"Ports by interface, as the last audit found them: ok, or what does not fit the policy.",
		[]string{"finding"},
		nil,
	)
	descPackets = prometheus.NewDesc(
		"portgrave_packets_total",
		"Packets by service, IP version and verdict (allowed, refused).",
		[]string{"service", "family", "verdict"},
		nil,
	)
	descReports = prometheus.NewDesc(
		"portgrave_reports_total",
		"Reports of refused (and, for log: all, accepted) packets, by what became of them: received, "+
			"lost.",
		[]string{"outcome"},
		nil,
	)
	descSources = prometheus.NewDesc(
		"portgrave_sources_remembered",
		"Sources in the table of a service's rate, or of the log of refused packets: service (log). "+
			"Absent where the kernel does not count them (nftables before Linux 6.16).",
		[]string{"service", "family"},
		nil,
	)
	descRoom = prometheus.NewDesc(
		"portgrave_sources_room",
		"How many sources that table has room for. While a rate's is full, new sources are refused; "+
			"while the log's is, unreported.",
		[]string{"service", "family"},
		nil,
	)
	descTurned = prometheus.NewDesc(
		"portgrave_table_full_packets_total",
		"Packets from sources that such a table had no room for (counted by nftables only).",
		[]string{"service", "family"},
		nil,
	)
	descBytes = prometheus.NewDesc(
		"portgrave_bytes_total",
		"Bytes by service, IP version and verdict (allowed, refused).",
		[]string{"service", "family", "verdict"},
		nil,
	)
)

// repairBuckets spans what a repair takes: milliseconds, or seconds with a million sources.
var repairBuckets = []float64{.001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10}

func (d *Daemon) metricsHandler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{d}, d.events.durations)
	// More scrapes at a time than anybody needs are turned away: what reads the kernel takes its
	// turn in the loop.
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// collector reads everything at the moment of the scrape.
type collector struct{ d *Daemon }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, x := range []*prometheus.Desc{
		descBuild, descGeneration, descValid, descWaiting, descRead, descEnforced, descErrors,
		descEvents, descStale, descExpiring, descNextExpiry, descLeases, descLeaseEnd, descBoot,
		descShield, descProtected, descTracked, descTrackable, descMissing, descFight,
		descFightShare, descReduced, descState, descExposures, descPackets, descBytes, descReports,
		descSources, descRoom, descTurned,
	} {
		out <- x
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(x *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(x, prometheus.GaugeValue, v, labels...)
	}
	counter := func(x *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(x, prometheus.CounterValue, v, labels...)
	}
	s := c.d.status.get()
	gauge(descBuild, 1, s.Version, s.Backend)
	gauge(descGeneration, float64(s.Generation))
	gauge(descValid, oneIf(s.Policy.Error == ""))
	gauge(descWaiting, oneIf(s.Policy.Waits))
	gauge(descRead, seconds(s.Policy.ReadAt))
	gauge(descEnforced, seconds(s.EnforcedAt))
	gauge(descStale, float64(len(s.Policy.Stale)))
	errors, expiring, next := c.d.status.numbers()
	counter(descErrors, float64(errors))
	gauge(descExpiring, float64(expiring))
	gauge(descNextExpiry, seconds(next))
	leases, leaseEnd := c.d.status.leases()
	gauge(descLeases, float64(leases))
	gauge(descLeaseEnd, seconds(leaseEnd))
	gauge(descProtected, oneIf(s.Protection.Protected))
	if look := c.d.Local.Tracking; look != nil {
		if t, err := look(context.Background()); err == nil {
			gauge(descTracked, float64(t.Count))
			gauge(descTrackable, float64(t.Limit))
		}
	}
	counter(descMissing, s.RulesMissing)
	fights, share := false, 0.0
	if f := s.Fight; f != nil {
		fights, share = f.Until.IsZero(), f.MissingShare
	}
	gauge(descFight, oneIf(fights))
	gauge(descFightShare, share)
	gauge(descReduced, oneIf(s.Reduced))
	gauge(descState, oneIf(s.StateError == ""))
	gauge(descShield, oneIf(s.Protection.Wanted))
	if b := c.d.booted; b != nil {
		gauge(descBoot, float64(len(b.Fallbacks)), b.Loaded)
	}
	for kind, n := range c.d.exposed.findings() {
		gauge(descExposures, float64(n), string(kind))
	}
	counts := c.d.events.counts()
	for _, kind := range kinds {
		counter(descEvents, float64(counts[kind]), kind)
	}
	if r := c.d.Reports; r != nil {
		stats := r.Stats()
		counter(descReports, float64(stats.Received), "received")
		counter(descReports, float64(stats.Lost), "lost")
	}
	c.traffic(gauge, counter)
}

// oneIf is a gauge that says whether something is so.
func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// traffic reports the kernel's counters. If the loop is busy they are missing from this scrape.
func (c collector) traffic(gauge, counter func(*prometheus.Desc, float64, ...string)) {
	list, fills := c.d.counted.get(c.d)
	for _, t := range fills {
		service := t.Service
		if service == "" {
			service = "(log)"
		}
		if t.Sources != firewall.SourcesUnknown {
			gauge(descSources, float64(t.Sources), service, t.Family.String())
		}
		gauge(descRoom, float64(t.Room), service, t.Family.String())
		counter(descTurned, float64(t.Turned), service, t.Family.String())
	}
	for _, x := range list {
		for _, f := range address.Families {
			for verdict, n := range map[string]firewall.Counter{
				"allowed": x.traffic.Allowed[f],
				"refused": x.traffic.Refused[f],
			} {
				counter(descPackets, float64(n.Packets), x.service, f.String(), verdict)
				counter(descBytes, float64(n.Bytes), x.service, f.String(), verdict)
			}
		}
	}
}

// counted are the counters as they were a moment ago, so that the loop is asked once for however
// many scrapes.
type counted struct {
	mu   sync.Mutex
	at   time.Time
	list []serviceTraffic
	fill []firewall.TableFill
}

type serviceTraffic struct {
	service string
	traffic firewall.Traffic
}

// countedFor is how long counters are good for: scrapes are seconds apart.
const countedFor = time.Second

func (c *counted) get(d *Daemon) ([]serviceTraffic, []firewall.TableFill) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) < countedFor {
		return c.list, c.fill
	}
	var fills []firewall.TableFill
	var list []serviceTraffic
	var failed error
	err := d.inLoop(context.Background(), loopPatience, func(ctx context.Context) {
		var names []string
		var of func(string) (firewall.Traffic, bool)
		if names, of, failed = d.traffic(ctx); failed != nil {
			return
		}
		for _, name := range names {
			if t, counts := of(name); counts {
				list = append(list, serviceTraffic{name, t})
			}
		}
		if b, can := d.Reconciler.Backend.(firewall.Filling); can && d.inForce != nil {
			fills, failed = b.Fill(ctx, d.inForce.InForce().Rated())
		}
	})
	if err != nil || failed != nil {
		return nil, nil
	}
	c.at, c.list, c.fill = time.Now(), list, fills
	return list, fills
}

// traffic reads the counters of the services in force. It runs in the loop.
func (d *Daemon) traffic(
	ctx context.Context,
) (names []string, of func(string) (firewall.Traffic, bool), err error) {
	if d.inForce == nil {
		return nil, nil, nil
	}
	for _, svc := range d.inForce.InForce().Services {
		names = append(names, svc.Name)
	}
	names = append(names, firewall.OtherTraffic...)
	ctx, stop := context.WithTimeout(ctx, loopPatience)
	defer stop()
	if b, light := d.Reconciler.Backend.(firewall.Counting); light {
		of, err = b.Counters(ctx)
		return names, of, err
	}
	seen, err := d.Reconciler.Backend.Observe(ctx)
	if err != nil {
		return nil, nil, err
	}
	return names, seen.Traffic, nil
}

// lookAtUsage keeps what the counters are, so that status knows when they rose. It runs in the
// loop.
func (d *Daemon) lookAtUsage(ctx context.Context) {
	if names, of, err := d.traffic(ctx); err == nil && of != nil {
		d.Local.LookAtUsage(names, of)
	}
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

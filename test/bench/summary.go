package main

import (
	"fmt"
	"strings"
)

// Summary is the plot for people who have a minute: how long the longest list takes until it is in
// force, and how many connections a host still accepts behind rules. Both scales are linear.
func (r Report) Summary() []byte {
	size := 0
	for _, c := range r.Control {
		size = max(size, c.Size)
	}
	load := panel{
		title: fmt.Sprintf("Time until a list of %s IPv4 CIDRs is in force", formatCount(size)),
		scale: "shorter is better",
	}
	longest := 0.0
	for _, by := range r.contestants("IPv4", size) {
		c, ok := r.find("IPv4", size, by, FirstLoad)
		if !ok || len(c.Seconds) == 0 {
			continue
		}
		longest = max(longest, c.Seconds.Median())
		load.bars = append(load.bars, bar{
			by, c.cell(false), c.Seconds.Median(), strings.HasPrefix(by, "portgrave"),
		})
	}
	for i := range load.bars {
		load.bars[i].length /= max(longest, scaleBegin)
	}
	connects := r.packetPanel(size, "", func(p PacketRow) Series { return p.TCP })
	connects.title = "New TCP connections a second, compared with no rules"
	connects.scale = "longer is better"
	var panels []panel
	for _, p := range []panel{load, connects} {
		if len(p.bars) > 0 {
			panels = append(panels, p)
		}
	}
	return r.draw(panels)
}

package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// bar is one of a panel's; without a length it is only its label and text.
type bar struct {
	label, text string
	length      float64 // of 0 to 1
	ours        bool
}

// panel is bars under a title, which share a scale.
type panel struct {
	title, scale string
	bars         []bar
}

// Sizes of the plot, in pixels.
const (
	plotWidth  = 980
	labelWidth = 430
	barWidth   = 400
	barHeight  = 15
	barStep    = 21
	panelSpace = 58
)

// style makes the plot readable on light and on dark ground.
const style = `text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:13px}.s{fill:#57606a;font-size:11px}.o{fill:#0969da}.p{fill:#8c959f}.l{stroke:#d0d7de}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#9da7b3}.o{fill:#58a6ff}.p{fill:#6e7681}.l{stroke:#3d444d}}`

// SVG is the plot: times for the longest list on a logarithmic scale, packet rates on a linear one.
func (r Report) SVG() []byte { return r.draw(r.panels()) }

func (r Report) draw(panels []panel) []byte {
	height := 12
	for _, p := range panels {
		height += panelSpace + len(p.bars)*barStep
	}
	var b strings.Builder
	fmt.Fprintf(
		&b,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n<title>%s</title>\n<style>%s</style>\n",
		plotWidth,
		height+16,
		plotWidth,
		height+16,
		escapeXML("Portgrave and its peers, "+r.Where()),
		style,
	)
	y := 0
	for _, p := range panels {
		fmt.Fprintf(
			&b,
			"<text class=\"t\" x=\"8\" y=\"%d\">%s</text>\n<text class=\"s\" x=\"8\" y=\"%d\">%s</text>\n",
			y+22,
			escapeXML(p.title),
			y+38,
			escapeXML(p.scale),
		)
		top := y + panelSpace - 12
		fmt.Fprintf(
			&b,
			"<line class=\"l\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n",
			labelWidth,
			labelWidth,
			top,
			top+len(p.bars)*barStep,
		)
		for i, x := range p.bars {
			at, class := top+i*barStep+3, "p"
			if x.ours {
				class = "o"
			}
			width := math.Round(min(max(x.length, 0), 1) * barWidth)
			fmt.Fprintf(
				&b,
				"<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>",
				labelWidth-8,
				at+12,
				escapeXML(x.label),
			)
			fmt.Fprintf(
				&b,
				"<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.0f\" height=\"%d\" rx=\"2\"/>",
				class,
				labelWidth,
				at,
				width,
				barHeight,
			)
			fmt.Fprintf(
				&b,
				"<text x=\"%.0f\" y=\"%d\">%s</text>\n",
				labelWidth+width+6,
				at+12,
				escapeXML(x.text),
			)
		}
		y += panelSpace + len(p.bars)*barStep
	}
	fmt.Fprintf(
		&b,
		"<text class=\"s\" x=\"8\" y=\"%d\">%s</text>\n</svg>\n",
		height+8,
		escapeXML(r.Where()),
	)
	return []byte(b.String())
}

func (r Report) panels() []panel {
	size := 0
	for _, c := range r.Control {
		size = max(size, c.Size)
	}
	var out []panel
	for _, o := range []Operation{FirstLoad, OneMore, PercentReplaced, ReadAll} {
		if p := r.timePanel(size, o); len(p.bars) > 0 {
			out = append(out, p)
		}
	}
	if p := r.packetPanel(size, "small UDP packets", func(p PacketRow) Series { return p.UDP }); len(
		p.bars,
	) > 0 {
		out = append(out, p)
	}
	if p := r.packetPanel(size, "TCP connects", func(p PacketRow) Series { return p.TCP }); len(
		p.bars,
	) > 0 {
		out = append(out, p)
	}
	return out
}

// scaleBegin is where the logarithmic scale begins: 0.1 ms.
const scaleBegin = 1e-4

func (r Report) timePanel(size int, o Operation) panel {
	p := panel{
		title: fmt.Sprintf("%s IPv4 CIDRs: %s", formatCount(size), o),
		scale: "time, logarithmic; shorter is better",
	}
	for _, by := range r.contestants("IPv4", size) {
		c, ok := r.find("IPv4", size, by, o)
		if !ok || len(c.Seconds) == 0 && c.Note == "" {
			continue
		}
		seconds := c.Seconds.Median()
		if len(c.Seconds) == 0 {
			seconds = r.Limit
		}
		p.bars = append(
			p.bars,
			bar{
				by,
				c.cell(false),
				math.Log(seconds/scaleBegin) / math.Log(max(r.Limit, 1)/scaleBegin),
				strings.HasPrefix(by, "portgrave"),
			},
		)
	}
	return p
}

func (r Report) packetPanel(size int, what string, of func(PacketRow) Series) panel {
	p := panel{
		title: "Packet path: " + what,
		scale: "rate over the rate without rules; longer is better",
	}
	for _, x := range r.Packets {
		if s := of(x); len(s) > 0 && inReadme(x, size) {
			p.bars = append(
				p.bars,
				bar{
					x.By + ": " + x.What,
					formatShare(s, false),
					s.Median(),
					strings.HasPrefix(x.By, "portgrave"),
				},
			)
		}
	}
	return p
}

func escapeXML(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder doesn't fail
	return b.String()
}

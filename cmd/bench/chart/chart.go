// Package chart draws bars as SVG that a README can show: groups of bars on one
// scale, each with its name and its value in words, in colours that follow the
// reader's light or dark scheme.
package chart

import (
	"fmt"
	"html"
	"strings"
)

// Bar is one tool in one group.
type Bar struct {
	Name  string
	Value float64
	Text  string // the value as it is read
	Ours  bool   // drawn in the colour that stands out
	Floor bool   // drawn hollow: what cannot be undercut
}

// Group is bars under one heading.
type Group struct {
	Title string
	Bars  []Bar
}

// Chart is groups on one scale.
type Chart struct {
	Title  string
	Notes  []string // lines below the groups
	Groups []Group
	Line   float64 // a value that is marked through all groups; 0: none
}

// Measures of the drawing, in its own pixels.
const (
	width    = 760
	left     = 172 // where bars begin
	right    = 90  // kept for the value behind the longest bar
	rowHigh  = 20
	barHigh  = 13
	heading  = 30
	noteHigh = 18
)

const style = `<style>
.t{font:600 15px system-ui,sans-serif;fill:#1f2328}.g{font:600 12px system-ui,sans-serif;fill:#1f2328}
.n{font:12px system-ui,sans-serif;fill:#59636e}.v{font:12px ui-monospace,monospace;fill:#59636e}
.o{font-weight:600;fill:#1f2328}.b{fill:#afb8c1}.us{fill:#c2410c}.f{fill:none;stroke:#8b949e;stroke-dasharray:3 2}
.v{paint-order:stroke;stroke:#fff;stroke-width:4px}.x{stroke:#d1d9e0}.l{stroke:#8b949e;stroke-dasharray:4 3}
@media (prefers-color-scheme:dark){.t,.g{fill:#e6edf3}.n,.v{fill:#9198a1}.v{stroke:#0d1117}.o{fill:#e6edf3}.b{fill:#4b535d}.us{fill:#fb923c}.x{stroke:#3d444d}}
</style>
`

// SVG is the picture.
func (c Chart) SVG() string {
	var b strings.Builder
	high := 40
	for _, g := range c.Groups {
		high += heading + rowHigh*len(g.Bars)
	}
	high += noteHigh*len(c.Notes) + 4
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-10 0 %d %d\" role=\"img\" aria-label=%q>\n%s", width+20, high, html.EscapeString(c.describe()), style)
	fmt.Fprintf(&b, "<text class=\"t\" x=\"0\" y=\"20\">%s</text>\n", html.EscapeString(c.Title))
	y, scale := 34, c.scale()
	if c.Line > 0 { // below the words, which are drawn later
		fmt.Fprintf(&b, "<path class=\"l\" d=\"M%.1f %dV%d\"/>\n", left+c.Line*scale, y, high-noteHigh*len(c.Notes)-6)
	}
	for _, g := range c.Groups {
		fmt.Fprintf(&b, "<text class=\"g\" x=\"0\" y=\"%d\">%s</text>\n", y+18, html.EscapeString(g.Title))
		y += heading - 4
		fmt.Fprintf(&b, "<path class=\"x\" d=\"M%d %dV%d\"/>\n", left, y, y+rowHigh*len(g.Bars))
		for _, bar := range g.Bars {
			b.WriteString(bar.svg(y, scale))
			y += rowHigh
		}
		y += 4
	}
	for _, note := range c.Notes {
		y += noteHigh
		fmt.Fprintf(&b, "<text class=\"n\" x=\"0\" y=\"%d\">%s</text>\n", y, html.EscapeString(note))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// scale is pixels for one unit: the longest bar fills the row.
func (c Chart) scale() float64 {
	most := 0.0
	for _, g := range c.Groups {
		for _, bar := range g.Bars {
			most = max(most, bar.Value)
		}
	}
	most = max(most, c.Line)
	if most == 0 {
		return 0
	}
	return (width - left - right) / most
}

func (bar Bar) svg(y int, scale float64) string {
	class, emphasis := "b", ""
	switch {
	case bar.Ours:
		class, emphasis = "us", " o"
	case bar.Floor:
		class = "f"
	}
	long := max(1, bar.Value*scale)
	text := y + barHigh
	return fmt.Sprintf("<text class=\"n%s\" x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>"+
		"<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>"+
		"<text class=\"v%s\" x=\"%.1f\" y=\"%d\">%s</text>\n",
		emphasis, left-8, text, html.EscapeString(bar.Name), class, left, y+2, long, barHigh, emphasis, left+long+6, text, html.EscapeString(bar.Text))
}

// describe is the chart in words, for those who cannot see it.
func (c Chart) describe() string {
	text := c.Title
	for _, g := range c.Groups {
		var parts []string
		for _, bar := range g.Bars {
			parts = append(parts, bar.Name+" "+bar.Text)
		}
		text += ". " + g.Title + ": " + strings.Join(parts, ", ")
	}
	return text
}

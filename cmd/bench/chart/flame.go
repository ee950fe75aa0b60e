package chart

import (
	"fmt"
	"hash/fnv"
	"html"
	"maps"
	"slices"
	"strings"
)

// Stack is a call stack, outermost call first, and how much was seen in it.
type Stack struct {
	Frames []string
	Weight float64
}

// node is a call in its caller.
type node struct {
	weight float64
	below  map[string]*node
}

const frameHigh = 17

// Flame is a flame graph: each row is called by the row below it, and is as wide
// as the share of the time that was spent in it. A frame tells its name and share
// to a pointer that rests on it.
func Flame(title, unit string, stacks []Stack) string {
	root := &node{below: map[string]*node{}}
	deepest := 0
	for _, s := range stacks {
		deepest = max(deepest, len(s.Frames))
		root.add(s)
	}
	high := (deepest + 2) * frameHigh
	const wide = 1200
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\">\n<style>text{font:11px ui-monospace,monospace}rect{stroke:#fff;stroke-width:.5}</style>\n", wide, high)
	fmt.Fprintf(&b, "<rect width=\"%d\" height=\"%d\" fill=\"#fffdf7\"/>\n<text x=\"4\" y=\"13\">%s: %.3g %s</text>\n", wide, high, html.EscapeString(title), root.weight, unit)
	if root.weight > 0 {
		root.draw(&b, 0, high-frameHigh, wide/root.weight, root.weight)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (n *node) add(s Stack) {
	n.weight += s.Weight
	for _, f := range s.Frames {
		below := n.below[f]
		if below == nil {
			below = &node{below: map[string]*node{}}
			n.below[f] = below
		}
		below.weight += s.Weight
		n = below
	}
}

// draw draws what is called by n; frames narrower than a pixel are left out.
func (n *node) draw(b *strings.Builder, x float64, y int, scale, all float64) {
	for _, name := range slices.Sorted(maps.Keys(n.below)) {
		below := n.below[name]
		wide := below.weight * scale
		if wide >= 1 {
			label := ""
			short := name[strings.LastIndex(name, "/")+1:]
			if letters := int(wide / 7); letters > 3 {
				label = short[:min(len(short), letters)]
			}
			fmt.Fprintf(b, "<g><title>%s %.1f %%</title><rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/><text x=\"%.1f\" y=\"%d\">%s</text></g>\n",
				html.EscapeString(name), 100*below.weight/all, x, y-frameHigh, wide, frameHigh, warm(name), x+2, y-5, html.EscapeString(label))
			below.draw(b, x, y-frameHigh, scale, all)
		}
		x += wide
	}
}

// warm is a colour that a name always has: red for the kernel's side, and
// shades of yellow for the rest.
func warm(name string) string {
	if strings.Contains(name, "yscall") {
		return "#ef8f7a"
	}
	h := fnv.New32a()
	h.Write([]byte(name[:strings.LastIndex(name, ".")+1]))
	return fmt.Sprintf("hsl(%d,80%%,%d%%)", 30+h.Sum32()%30, 62+h.Sum32()/64%18)
}

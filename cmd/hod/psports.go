//go:build linux

package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hodbuild/hod/runner"
)

// portLine is a published port at one address of the host, or a run of them whose
// numbers follow one another on both sides. to is 0 for one that is only exposed.
type portLine struct {
	ip, protocol    string
	from, to, width int
}

// portLines are those of a container, by the number inside.
func portLines(ports []runner.PortMapping, exposed map[string]struct{}) []portLine {
	var out []portLine
	published := map[string]bool{}
	for _, p := range ports {
		published[portName(p)] = true
		for _, ip := range hostAddresses(p) {
			out = append(out, portLine{ip, p.Protocol, int(p.HostPort), int(p.ContainerPort), 1})
		}
	}
	for name := range exposed {
		list, _ := runner.ParseExpose(name) // what is no port publishes nothing
		for _, name := range list {
			var n int
			if _, err := fmt.Sscanf(name, "%d", &n); err == nil && !published[name] {
				out = append(out, portLine{"", name[strings.IndexByte(name, '/')+1:], 0, n, 1})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b portLine) int {
		return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.from, b.from))
	})
	return out
}

// join makes one line of those whose numbers follow one another.
func join(lines []portLine) []portLine {
	var out []portLine
	for _, l := range lines {
		at := slices.IndexFunc(out, func(have portLine) bool {
			follows := l.from == have.from+have.width || l.from == 0 && have.from == 0
			return have.ip == l.ip && have.protocol == l.protocol && l.to == have.to+have.width && follows
		})
		if at < 0 {
			out = append(out, l)
		} else {
			out[at].width++
		}
	}
	return out
}

func (l portLine) String() string {
	text := portSpan(l.to, l.width) + "/" + l.protocol
	if l.from == 0 {
		return text
	}
	return fmt.Sprintf("%s:%s->%s", l.ip, portSpan(l.from, l.width), text)
}

func portSpan(first, width int) string {
	if width == 1 {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, first+width-1)
}

func portName(p runner.PortMapping) string { return fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol) }

// portsText is ps's column.
func portsText(e runner.Entry) string {
	if e.State.Network == nil {
		return ""
	}
	var out []string
	exposed := map[string]struct{}{}
	for _, name := range exposedPorts(e.Container) {
		exposed[name] = struct{}{}
	}
	for _, l := range join(portLines(e.State.Network.Ports, exposed)) {
		out = append(out, l.String())
	}
	return strings.Join(out, ", ")
}

// exposedPorts are the image's, those of --expose and those that are published.
func exposedPorts(c *runner.Container) []string {
	names := map[string]bool{}
	for p := range c.Config.ExposedPorts {
		names[withProtocol(p)] = true
	}
	for _, p := range c.Options.Expose {
		names[p] = true
	}
	for _, p := range c.Options.Ports {
		names[portName(p)] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// publishes says whether a port of the host, or of the container that has one there,
// is among those that a filter names: 80, 80/udp, 8000-8080/tcp.
func publishes(e runner.Entry, want string) bool {
	list, err := runner.ParseExpose(want)
	ports := e.Options.Ports
	if e.State.Network != nil {
		ports = e.State.Network.Ports
	}
	return err == nil && slices.ContainsFunc(ports, func(p runner.PortMapping) bool {
		return slices.Contains(list, portName(p)) || slices.Contains(list, fmt.Sprintf("%d/%s", p.HostPort, p.Protocol))
	})
}

// hostAddresses are those that docker prints for a published port.
func hostAddresses(p runner.PortMapping) []string {
	switch {
	case p.HostIP == "":
		return []string{"0.0.0.0", "[::]"}
	case strings.Contains(p.HostIP, ":"):
		return []string{"[" + p.HostIP + "]"}
	}
	return []string{p.HostIP}
}

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// markdown is the report as a page.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# hod beside its peers\n\nPrinted by `make bench`. ")
	m := r.Machine
	fmt.Fprintf(&b, "%d × %s, %.0f GiB, Linux %s, %s, %s, load %s before.\n", m.Processors, m.Processor, float64(m.Memory)/(1<<30), m.Kernel, m.Go, m.When, m.Load)
	if r.Scale != 1 {
		fmt.Fprintf(&b, "**W3 and W4 at %g of their size: a trial, not a result.**\n", r.Scale)
	}
	if r.Parts {
		b.WriteString("Made in several runs one after another, in which not every tool was asked.\n")
	}
	b.WriteString(reading)
	if m.RoundTrip > 0 {
		fmt.Fprintf(&b, "The slow link's round trip, measured: %.1f ms.\n", m.RoundTrip)
	}
	b.WriteString("\n| tool | version | how |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, r.Versions[name], r.About[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.LeftOut)) {
		fmt.Fprintf(&b, "| %s | left out | %s |\n", name, r.LeftOut[name])
	}
	r.summary(&b)
	last := ""
	for _, row := range r.Rows {
		if row.Cell != last {
			last = row.Cell
			fmt.Fprintf(&b, "\n## %s: %s\n\n| | median | least – most | n | CPU | memory | written | wire | to the fastest peer | to the floor |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n", row.Cell, row.About)
		}
		b.WriteString(row.markdown())
	}
	return b.String()
}

const reading = `
Whole processes, measured in turn after a warm-up, in a journaled ext4 image in
memory, with registries and network in namespaces of their own; each tool has
shown that what it makes is right before its times count. *cold* includes the
pull of the base from loopback. CPU is of the client, its children and the
daemons; memory the peak of the largest client process + the peak of the daemons,
and what processes beside a detached container hold that *stay*;
*written* what reached the disk, after a sync; *wire* what went over loopback.
Ratios are of medians: below 1 is faster. The floor is the same bytes through
tar, sha256sum, gzip -1, curl, or a bare clone, overlay and execve in C.
`

// summary is one line a cell: hod, the fastest peer and the floor.
func (r *report) summary(b *strings.Builder) {
	b.WriteString("\n| | hod | fastest peer | hod to it | hod to the floor |\n|---|--:|--:|--:|--:|\n")
	last := ""
	for _, row := range r.Rows {
		if row.Cell == last {
			continue
		}
		last = row.Cell
		hod, peer := r.best(row.Cell)
		if hod == nil {
			continue
		}
		beside := "–"
		if peer != nil {
			beside = peer.Peer + " " + seconds(peer.Median)
		}
		fmt.Fprintf(b, "| %s %s | %s | %s | %s | %s |\n", hod.Cell, hod.About, seconds(hod.Median), beside, ratio(hod.ToPeer), ratio(hod.ToFloor))
	}
}

func (w *row) markdown() string {
	if w.Trouble != "" {
		return fmt.Sprintf("| %s | %s |||||||||\n", w.Peer, strings.ReplaceAll(w.Trouble[:min(len(w.Trouble), 160)], "|", "/"))
	}
	memory := size(w.Client)
	if w.Daemon > 0 {
		memory += " + " + size(w.Daemon)
	}
	if w.Stays > 0 {
		memory += ", " + size(w.Stays) + " stay"
	}
	return fmt.Sprintf("| %s | %s | %s – %s | %d | %s | %s | %s | %s | %s | %s |\n", w.Peer, seconds(w.Median), seconds(w.Least), seconds(w.Most),
		max(1, len(w.Samples)), seconds(w.CPU), memory, size(w.Written), size(w.Wire), ratio(w.ToPeer), ratio(w.ToFloor))
}

func ratio(r float64) string {
	if r == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", r)
}

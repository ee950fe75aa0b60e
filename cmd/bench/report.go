package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hodbuild/hod/cmd/bench/bed"
	"golang.org/x/sys/unix"
)

// report is all that a run found; it is what results.json holds.
type report struct {
	Machine  machine
	Versions map[string]string
	About    map[string]string // of a peer: how it was used
	LeftOut  map[string]string // a peer, and why
	Scale    float64
	Parts    bool `json:",omitempty"` // made in several runs one after another, -add
	Rows     []*row
}

type machine struct {
	Processor, Kernel, Go string
	Processors            int
	Memory                int64
	When                  string
	Load                  string  // average of the minute before
	RoundTrip             float64 // milliseconds over the slow link
}

// row is one peer in one cell. Times are in seconds, sizes in bytes.
type row struct {
	Cell, About, Peer  string
	Samples            []float64
	Median, Least      float64
	Most               float64
	CPU                float64
	Client, Daemon     int64   // peak memory
	Stays              int64   `json:",omitempty"` // resident memory of what stays beside a container
	Written, Wire      int64   // medians
	ToPeer             float64 `json:",omitempty"` // median, to the fastest other peer's
	ToFloor            float64 `json:",omitempty"`
	Trouble            string  `json:",omitempty"`
	first              bed.Sample
	cpu, written, wire []float64
}

func newReport(o options) *report {
	return &report{Scale: o.scale, Versions: map[string]string{}, About: map[string]string{}, LeftOut: map[string]string{}}
}

// keep takes over from an earlier run what it found in other cells than these.
func (r *report) keep(dir string, cells []*cell) error {
	raw, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		return err
	}
	var old report
	if err := json.Unmarshal(raw, &old); err != nil {
		return fmt.Errorf("read the results in %s: %w", dir, err)
	}
	again := func(row *row) bool {
		return slices.ContainsFunc(cells, func(c *cell) bool { return c.name == row.Cell })
	}
	r.Parts = true
	r.Rows = append(r.Rows, slices.DeleteFunc(old.Rows, again)...)
	for name, version := range old.Versions {
		if _, known := r.Versions[name]; !known {
			r.Versions[name], r.About[name] = version, old.About[name]
		}
	}
	return nil
}

func (r *report) leaveOut(name, why string) {
	r.LeftOut[name] = strings.Join(strings.Fields(why), " ")
	fmt.Fprintf(os.Stderr, "# %s is left out: %s\n", name, r.LeftOut[name])
}

// describe notes the machine and the versions.
func (r *report) describe(b *bench) {
	for _, p := range b.tools {
		r.Versions[p.name], r.About[p.name] = p.versionLine(), p.about
	}
	r.Machine = machine{
		Processor: firstLine("/proc/cpuinfo", "model name"), Processors: runtime.NumCPU(), Go: runtime.Version(),
		When: time.Now().UTC().Format("2006-01-02"), Load: word("/proc/loadavg", 0),
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		r.Machine.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		r.Machine.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	if b.needs("far") {
		r.Machine.RoundTrip = float64(b.far.roundTrip().Microseconds()) / 1000
	}
}

func firstLine(path, begin string) string {
	b, _ := os.ReadFile(path)
	for l := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.HasPrefix(k, begin) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func word(path string, n int) string {
	b, _ := os.ReadFile(path)
	if f := strings.Fields(string(b)); len(f) > n {
		return f[n]
	}
	return ""
}

func (r *report) row(c *cell, p *peer) *row {
	n := &row{Cell: c.name, About: c.about, Peer: p.name}
	r.Rows = append(r.Rows, n)
	return n
}

// add takes a sample. The first warms up: it counts only while it is alone.
func (r *row) add(s bed.Sample, first bool) {
	r.Client, r.Daemon, r.Stays = max(r.Client, s.Client), max(r.Daemon, s.Daemon), max(r.Stays, s.Stays)
	if first {
		r.first = s
	} else {
		r.Samples = append(r.Samples, s.Wall.Seconds())
		r.cpu = append(r.cpu, s.CPU.Seconds())
		r.written = append(r.written, float64(s.Written))
		r.wire = append(r.wire, float64(s.Wire))
	}
	walls := r.Samples
	if len(walls) == 0 {
		walls, r.cpu, r.written, r.wire = []float64{s.Wall.Seconds()}, nil, nil, nil
		r.CPU, r.Written, r.Wire = s.CPU.Seconds(), s.Written, s.Wire
	}
	r.Median, r.Least, r.Most = median(walls), slices.Min(walls), slices.Max(walls)
	if len(r.Samples) > 0 {
		r.CPU, r.Written, r.Wire = median(r.cpu), int64(median(r.written)), int64(median(r.wire))
	}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// rows of a cell.
func (r *report) of(cell string) []*row {
	var rows []*row
	for _, row := range r.Rows {
		if row.Cell == cell {
			rows = append(rows, row)
		}
	}
	return rows
}

// compare fills the ratios in.
func (r *report) compare() {
	for _, row := range r.Rows {
		row.ToPeer, row.ToFloor = 0, 0
		if row.Trouble != "" || row.Peer == floorName {
			continue
		}
		fastest := 0.0
		for _, other := range r.of(row.Cell) {
			switch {
			case other.Trouble != "" || other == row:
			case other.Peer == floorName:
				row.ToFloor = row.Median / other.Median
			case other.Peer != "hod" && (fastest == 0 || other.Median < fastest):
				fastest = other.Median
			}
		}
		if fastest > 0 {
			row.ToPeer = row.Median / fastest
		}
	}
}

// line is a cell in one line, for the terminal.
func (r *report) line(c *cell) string {
	r.compare()
	text := fmt.Sprintf("%-16s", c.name)
	for _, row := range r.of(c.name) {
		if row.Trouble != "" {
			text += fmt.Sprintf("  %s -", row.Peer)
			continue
		}
		text += fmt.Sprintf("  %s %s", row.Peer, seconds(row.Median))
		if row.Peer == "hod" && row.ToPeer > 0 {
			text += fmt.Sprintf(" (%.2f×)", row.ToPeer)
		}
	}
	return text
}

// seconds with three digits that tell.
func seconds(s float64) string {
	switch {
	case s < 0.1:
		return fmt.Sprintf("%.1f ms", s*1000)
	case s < 1:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 10:
		return fmt.Sprintf("%.2f s", s)
	}
	return fmt.Sprintf("%.1f s", s)
}

func size(b int64) string {
	switch {
	case b < 1000:
		return fmt.Sprintf("%d B", b)
	case b < 1e6:
		return fmt.Sprintf("%.0f kB", float64(b)/1e3)
	case b < 10e6:
		return fmt.Sprintf("%.1f MB", float64(b)/1e6)
	}
	return fmt.Sprintf("%.0f MB", float64(b)/1e6)
}

// write writes results.json, results.md and the charts.
func (r *report) write(dir string) error {
	r.compare()
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.md"), []byte(r.markdown()), 0o644); err != nil {
		return err
	}
	return r.charts(dir)
}

package main

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hodbuild/hod/cmd/bench/bed"
	"github.com/hodbuild/hod/cmd/bench/chart"
	"github.com/hodbuild/hod/layers/granted"
)

// TestBenchMeasures runs the smallest cell with a real hod, and with one that
// builds something else.
func TestBenchMeasures(t *testing.T) {
	granted.NeedRoot(t, "the bed of the benchmark is mounts and networks")
	for _, tool := range []string{"mkfs.ext4", "ip", "curl", "/bin/busybox"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s here", tool)
		}
	}
	dir := t.TempDir()
	hod, bench := filepath.Join(dir, "hod"), filepath.Join(dir, "bench")
	for path, of := range map[string]string{hod: "../hod", bench: "."} {
		cmd := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", path, of)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
	}
	liar := filepath.Join(dir, "liar")
	// The context is the last word; the folder that it makes of it has another file. What it loads has one more.
	script := strings.NewReplacer("REAL", hod, "OTHER", filepath.Join(dir, "other")).Replace(`#!/bin/sh
[ "$1" != load ] || { REAL "$@" && cd "$HOD_ROOT"/boot/*/trees/*/*/fs && exec touch more; }
[ "$1" = build ] || exec REAL "$@"
for c; do :; done
rm -rf OTHER; cp -r "$c" OTHER && echo x >>OTHER/$(cd "$c" && find . -name file -o -name f0.js | head -n 1)
exec REAL $(echo "$@" | sed "s,$c\$,OTHER,")
`)
	if err := os.WriteFile(liar, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	troubles := map[string]string{"w1/cold": "1 differences", "u2/disk": `1 differences: "more" is too much`, "p2": "1 differences"}
	for _, tool := range []string{hod, liar} {
		out := filepath.Join(dir, "out")
		cmd := exec.Command(bench, "-hod", tool, "-work", "w1/cold,u2/disk,p2,s5,s6", "-peers", "hod", "-rounds", "1", "-scale", "0.002", "-cache", dir, "-out", out, "-disk", "1073741824")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("bench: %v\n%s", err, text)
		}
		var r report
		b, err := os.ReadFile(filepath.Join(out, "results.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatal(err)
		}
		for cell, trouble := range troubles {
			row := r.of(cell)[0]
			if tool == liar && !strings.HasPrefix(row.Trouble, "the result is wrong: "+trouble) {
				t.Errorf("%s of a liar: trouble %q, want %q", cell, row.Trouble, trouble)
			}
			if tool == hod && (row.Trouble != "" || row.Median <= 0 || row.Client < 1<<20 || row.Written == 0) {
				t.Errorf("not all was measured: %+v", row)
			}
		}
		if row := r.of("w1/cold")[0]; tool == hod && row.Wire < 1<<20 {
			t.Errorf("the wire was not measured: %+v", row)
		}
		if row := r.of("s5")[0]; row.Trouble != "" || row.Wire < 250e6 {
			t.Errorf("the published port was not read: %+v", row)
		}
		if row := r.of("s6")[0]; row.Trouble != "" || row.Stays < 1<<20 || row.Stays > 40<<20 {
			t.Errorf("the monitor was not measured: %+v", row)
		}
	}
	pictures, err := filepath.Glob(filepath.Join(dir, "out", "*.svg"))
	if err != nil || len(pictures) == 0 {
		t.Errorf("no pictures: %v", err)
	}
}

// TestPicturesAreXML: names and notes from tools are text in them.
func TestPicturesAreXML(t *testing.T) {
	c := chart.Chart{Title: `a <"b"> & c`, Notes: []string{"n&"}, Line: 1, Groups: []chart.Group{{Title: "<g>", Bars: []chart.Bar{{Name: "x&y", Value: 2, Text: "<2>"}, {Name: "o", Value: 0, Ours: true}}}}}
	flame := chart.Flame("a<b", "s", []chart.Stack{{Frames: []string{"main.main", "a.(*B[go.shape<]).c"}, Weight: 3}})
	for _, svg := range []string{c.SVG(), flame} {
		for d := xml.NewDecoder(strings.NewReader(svg)); ; {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%v\n%s", err, svg)
			}
		}
	}
	if got := strings.Count(flame, "<g>"); got != 2 {
		t.Errorf("%d frames, want 2", got)
	}
}

func TestParseTraces(t *testing.T) {
	got := parseTraces("File: hod\nType: cpu\n-----------+------\n      10ms   inner\n             outer\n-----------+------\n     1.20s   other\n-----------+------\n")
	if len(got) != 2 || got[0].Weight != 0.01 || strings.Join(got[0].Frames, " ") != "outer inner" || got[1].Weight != 1.2 {
		t.Errorf("%+v", got)
	}
}

// TestRelayIsLate: what goes through it and back is late by the round trip, not less.
func TestRelayIsLate(t *testing.T) {
	const late = 40 * time.Millisecond
	echo, relay := "127.0.0.1:17391", "127.0.0.1:17392"
	server := echoServer(t, echo)
	defer server.Close()
	if err := bed.Relay(relay, echo, late); err != nil {
		t.Fatal(err)
	}
	c := dial(t, relay)
	defer c.Close()
	exchange(t, c, "first") // with the handshake
	start := time.Now()
	exchange(t, c, "second")
	if took := time.Since(start); took < late {
		t.Errorf("there and back in %v, sooner than %v", took, late)
	}
}

func TestReadmeHoldsThePictures(t *testing.T) {
	page, folder := filepath.Join(t.TempDir(), "README.md"), t.TempDir()
	if err := os.WriteFile(page, []byte("before\n"+readmeBegin+"former text\n"+readmeEnd+"after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "w2.svg"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second run finds the marks again
		if err := (&report{}).putInto(page, folder); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b); strings.Contains(s, "former text") || strings.Count(s, "w2.svg") != 1 || strings.Contains(s, "w3.svg") ||
		!strings.HasPrefix(s, "before\n") || !strings.HasSuffix(s, "after\n") {
		t.Errorf("%s", s)
	}
	if ours, err := os.ReadFile("../../README.md"); err != nil || !strings.Contains(string(ours), readmeBegin) || !strings.Contains(string(ours), readmeEnd) {
		t.Errorf("README.md has no place for the pictures: %v", err)
	}
}

func TestRatiosAreToTheFastestOther(t *testing.T) {
	r := &report{Rows: []*row{
		{Cell: "a", Peer: "hod", Median: 2}, {Cell: "a", Peer: "slow", Median: 8}, {Cell: "a", Peer: "fast", Median: 4},
		{Cell: "a", Peer: "broken", Median: 0.1, Trouble: "exit 1"}, {Cell: "a", Peer: floorName, Median: 1},
	}}
	r.compare()
	if got := r.Rows[0]; got.ToPeer != 0.5 || got.ToFloor != 2 {
		t.Errorf("hod: %v to the peer, %v to the floor", got.ToPeer, got.ToFloor)
	}
	if got := r.Rows[2]; got.ToPeer != 0.5 {
		t.Errorf("fast: %v to the fastest other, want 0.5 (hod is no peer of theirs)", got.ToPeer)
	}
}

// TestStrip: what is pushed after hold goes, blobs and repositories, and what was
// there before stays.
func TestStrip(t *testing.T) {
	r := &registry{folder: t.TempDir()}
	add := func(paths ...string) {
		for _, path := range paths {
			if err := os.MkdirAll(filepath.Join(r.folder, "docker/registry/v2", path), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	add("repositories/base/_manifests", "blobs/sha256/aa/aa11")
	if err := r.hold(); err != nil {
		t.Fatal(err)
	}
	add("repositories/built-w1/_manifests", "blobs/sha256/aa/aa22", "blobs/sha256/bb/bb33")
	if err := r.strip(); err != nil {
		t.Fatal(err)
	}
	left, err := r.items()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"repositories/base", "blobs/sha256/aa/aa11"} {
		if !left[filepath.Join(r.folder, "docker/registry/v2", path)] {
			t.Errorf("%s is gone", path)
		}
	}
	if len(left) != 2 {
		t.Errorf("left are %v", left)
	}
}

package main

import (
	"testing"
	"time"

	"github.com/hodbuild/hod/runner"
)

// TestFilterByTime: containers are older and newer than others to the last digit,
// whatever zeros end the fraction.
func TestFilterByTime(t *testing.T) {
	at := func(name string, ns int) runner.Entry {
		c := &runner.Container{Name: name, Created: time.Date(2026, 1, 2, 3, 4, 5, ns, time.UTC)}
		return runner.Entry{Container: c, State: &runner.State{}}
	}
	first, middle, last := at("first", 100_000_000), at("middle", 120_000_000), at("last", 120_000_001)
	list := []runner.Entry{last, middle, first}
	for _, c := range []struct {
		filter string
		want   string
	}{{"before=middle", "first"}, {"since=middle", "last"}, {"before=last", "middle first"}, {"since=first", "last middle"}} {
		f, err := containerFilters([]string{c.filter})
		if err == nil {
			err = f.resolve(list)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, e := range list {
			if f.match(e) {
				got += " " + e.Name
			}
		}
		if got != " "+c.want {
			t.Errorf("%s: got%s, want %s", c.filter, got, c.want)
		}
	}
}

// Command summary prints what go test -json said in a few lines, and fails when
// a test was skipped on a root machine that the list does not name.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
)

type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

func main() {
	if err := summarise(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func summarise(log, list string) error {
	allowed, err := readList(list)
	if err != nil {
		return err
	}
	f, err := os.Open(log)
	if err != nil {
		return err
	}
	defer f.Close()
	output, bad := map[string]*strings.Builder{}, 0
	for lines := bufio.NewReader(f); ; {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var e event
		if json.Unmarshal(text, &e) != nil {
			fmt.Printf("%s", text) // a build error
			continue
		}
		bad += tell(e, output, allowed)
	}
	if bad > 0 {
		return fmt.Errorf("%d tests failed or were skipped that must run", bad)
	}
	return nil
}

// tell prints what an event is worth and counts it when it is bad.
func tell(e event, output map[string]*strings.Builder, allowed []*regexp.Regexp) int {
	name := e.Package + " " + e.Test
	switch {
	case e.Action == "output":
		if output[name] == nil {
			output[name] = &strings.Builder{}
		}
		output[name].WriteString(e.Output)
		return 0
	case e.Test == "" && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip"):
		fmt.Printf("%-5s %s %.1fs\n", e.Action, e.Package, e.Elapsed)
		if e.Action != "fail" {
			return 0
		}
	case e.Action == "skip":
		fmt.Printf("skip  %s\n", name)
		if os.Getuid() != 0 || matches(allowed, e.Test) {
			return 0
		}
	case e.Action != "fail":
		return 0
	}
	if b := output[name]; b != nil {
		fmt.Print(b.String())
	}
	return 1
}

func matches(list []*regexp.Regexp, name string) bool {
	for _, re := range list {
		if re.MatchString(name) {
			return true
		}
	}
	return false
}

// readList reads one pattern a line; # begins the reason.
func readList(path string) ([]*regexp.Regexp, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []*regexp.Regexp
	for line := range strings.Lines(string(text)) {
		pattern, _, _ := strings.Cut(line, "#")
		if pattern = strings.TrimSpace(pattern); pattern == "" {
			continue
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, re)
	}
	return list, nil
}

//go:build linux

package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// setLimit writes a limit. What a list of processors or memory nodes asks for must be there: the kernel's answer does not say
// what is, and on the unified hierarchy it takes any.
func setLimit(dir, file, value string) error {
	if file != "cpuset.cpus" && file != "cpuset.mems" {
		return write(dir, file, value)
	}
	asked, perr := parseList(value) // the kernel knows some more forms
	if err := within(filepath.Dir(dir), file, asked); err != nil {
		return err
	}
	err := write(dir, file, value)
	if err != nil && perr != nil {
		return fmt.Errorf("%q is no list such as 0-2,4: %w", value, err)
	}
	return err
}

// within compares a list with what the group above may use.
func within(above, file string, asked [][2]int) error {
	text, err := os.ReadFile(filepath.Join(above, file+".effective"))
	if err != nil {
		text, err = os.ReadFile(filepath.Join(above, strings.Replace(file, ".", ".effective_", 1)))
	}
	there, lerr := parseList(strings.TrimSpace(string(text)))
	if err != nil || lerr != nil || len(there) == 0 {
		return nil // the kernel will tell
	}
	for _, one := range asked {
		for n := one[0]; n <= one[1]; n++ {
			if !holds(there, n) {
				return fmt.Errorf("there is no %d here, only %s", n, strings.TrimSpace(string(text)))
			}
		}
	}
	return nil
}

func holds(spans [][2]int, n int) bool {
	for _, s := range spans {
		if s[0] <= n && n <= s[1] {
			return true
		}
	}
	return false
}

// parseList reads the kernel's lists of numbers, 0-2,4, as spans.
func parseList(text string) ([][2]int, error) {
	var spans [][2]int
	for part := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		a, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return nil, err
		}
		b, err := strconv.ParseUint(last, 10, 16)
		if err != nil {
			return nil, err
		}
		if b < a {
			return nil, strconv.ErrRange
		}
		spans = append(spans, [2]int{int(a), int(b)})
	}
	return spans, nil
}

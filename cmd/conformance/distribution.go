package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
)

// runDistribution runs the distribution specification's suite against hod serve, by the test that does so.
func runDistribution(ctx context.Context, o options) score {
	s := score{name: "distribution specification's suite"}
	cmd := exec.CommandContext(ctx, "go", "test", "-tags", "urfave_cli_no_docs", "-count=1", "-v", "-run", "^TestConformance$", "./registry/server")
	cmd.Dir = o.repo
	cmd.Stderr = os.Stderr
	out, _ := cmd.Output()
	number := func(pattern string) int {
		m := regexp.MustCompile(pattern).FindSubmatch(out)
		if m == nil {
			return -1
		}
		n, _ := strconv.Atoi(string(m[1]))
		return n
	}
	tests, failures, failed := number(`<testsuites[^>]* tests="(\d+)"`), number(`<testsuites[^>]* failures="(\d+)"`), number(`<testsuites[^>]* errors="(\d+)"`)
	if tests < 0 {
		return s.left(errors.New(lastLines(string(out), 3)))
	}
	s.of, s.passed = tests, tests-max(failures, 0)-max(failed, 0)
	return s
}

package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
)

// profiled runs fn and writes the profile that HOD_PROFILE asks for (cpu, mem,
// trace) into hod.KIND.PID of the current folder.
func profiled(fn func() error) error {
	kind := os.Getenv("HOD_PROFILE")
	if kind == "" {
		return fn()
	}
	if kind != "cpu" && kind != "mem" && kind != "trace" {
		return withHint(fmt.Errorf("HOD_PROFILE=%q is no profile", kind), "HOD_PROFILE is cpu, mem or trace")
	}
	f, err := os.Create(fmt.Sprintf("hod.%s.%d", kind, os.Getpid()))
	if err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	defer f.Close()
	switch kind {
	case "cpu":
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("write profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	case "trace":
		if err := trace.Start(f); err != nil {
			return fmt.Errorf("write profile: %w", err)
		}
		defer trace.Stop()
	case "mem":
		defer func() {
			runtime.GC()
			_ = pprof.WriteHeapProfile(f) // a profile is best effort; fn's error counts
		}()
	}
	return fn()
}

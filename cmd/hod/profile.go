package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
)

// profiles are what HOD_PROFILE can ask for: each starts writing into w and
// gives what ends it.
var profiles = map[string]func(w io.Writer) (stop func(), err error){
	"cpu": func(w io.Writer) (func(), error) { return pprof.StopCPUProfile, pprof.StartCPUProfile(w) },
	"mem": func(w io.Writer) (func(), error) {
		return func() {
			runtime.GC()
			_ = pprof.WriteHeapProfile(w) // a profile is best effort
		}, nil
	},
	"trace": func(w io.Writer) (func(), error) { return trace.Stop, trace.Start(w) },
	"count": func(w io.Writer) (func(), error) {
		return func() {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			fmt.Fprintf(w, "%d allocations, %d bytes, %d collections\n", m.Mallocs, m.TotalAlloc, m.NumGC)
		}, nil
	},
}

// profiled runs fn and writes the profile that HOD_PROFILE asks for (cpu, mem,
// trace, or count: the allocations in one line) into hod.KIND.PID of the current
// folder.
func profiled(fn func() error) error {
	kind := os.Getenv("HOD_PROFILE")
	if kind == "" {
		return fn()
	}
	start := profiles[kind]
	if start == nil {
		return withHint(fmt.Errorf("HOD_PROFILE=%q is no profile", kind), "HOD_PROFILE is cpu, mem, trace or count")
	}
	f, err := os.Create(fmt.Sprintf("hod.%s.%d", kind, os.Getpid()))
	if err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	defer f.Close()
	stop, err := start(f)
	if err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	defer stop()
	return fn()
}

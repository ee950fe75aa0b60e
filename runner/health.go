//go:build linux

package runner

import (
	"context"
	"sync"
	"time"
)

// probeOutput is how much of a probe's output is kept, healthLog how many probes.
const (
	probeOutput = 4096
	healthLog   = 5
)

// health is the check that applies: the container's own, with what it leaves
// open taken from the image's, or the image's. Nil when there is none.
func (c *Container) health() *Healthcheck {
	h := Healthcheck{}
	if c.Config.Healthcheck != nil {
		h = *c.Config.Healthcheck
	}
	if o := c.Options.Health; o != nil {
		if len(o.Test) > 0 {
			h.Test = o.Test
		}
		pick(&h.Interval, o.Interval)
		pick(&h.Timeout, o.Timeout)
		pick(&h.StartPeriod, o.StartPeriod)
		pick(&h.StartInterval, o.StartInterval)
		if o.Retries > 0 {
			h.Retries = o.Retries
		}
	}
	if len(h.Test) == 0 || h.Test[0] == "NONE" || len(h.Test) == 1 {
		return nil
	}
	fallback(&h.Interval, 30*time.Second)
	fallback(&h.Timeout, 30*time.Second)
	fallback(&h.StartInterval, 5*time.Second)
	if h.Retries == 0 {
		h.Retries = 3
	}
	return &h
}

func pick(to *time.Duration, d time.Duration) {
	if d > 0 {
		*to = d
	}
}

func fallback(to *time.Duration, d time.Duration) {
	if *to == 0 {
		*to = d
	}
}

// command is what is run inside the container for one probe.
func (c *Container) healthCommand(h *Healthcheck) []string {
	if h.Test[0] != "CMD-SHELL" {
		return h.Test[1:]
	}
	shell := c.Config.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(append([]string{}, shell...), h.Test[1:]...)
}

// probe runs the health checks until the function that it returns is called.
func (m *monitor) probe(ctx context.Context, p *running) (stop func()) {
	h := m.c.health()
	if h == nil || p.exec == nil {
		return func() {}
	}
	m.update(func(s *State) { s.Health = &HealthState{Status: "starting"} })
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		begun := time.Now()
		for {
			pause := h.Interval
			if h.StartPeriod > 0 && time.Since(begun) < h.StartPeriod && m.snapshot().Health.Status == "starting" {
				pause = h.StartInterval
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			if s, err := m.c.LoadState(); err == nil && s.Status == StatusPaused {
				continue // nothing would answer
			}
			m.judge(h, m.probeOnce(ctx, p, h), time.Since(begun) < h.StartPeriod)
		}
	})
	return func() { cancel(); done.Wait() }
}

func (m *monitor) probeOnce(ctx context.Context, p *running, h *Healthcheck) HealthProbe {
	limited, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	probe := HealthProbe{Start: time.Now()}
	code, out, err := p.exec(limited, m.c.healthCommand(h))
	probe.End, probe.ExitCode = time.Now(), code
	switch {
	case limited.Err() != nil:
		probe.ExitCode, out = -1, []byte("Health check exceeded timeout ("+h.Timeout.String()+")")
	case err != nil:
		probe.ExitCode, out = -1, []byte(err.Error())
	}
	probe.Output = string(out[:min(len(out), probeOutput)])
	return probe
}

// judge changes the health after a probe. Failures in the start period do not
// count; one success ends it.
func (m *monitor) judge(h *Healthcheck, probe HealthProbe, starting bool) {
	m.update(func(s *State) {
		if s.Health == nil || s.Status == StatusExited {
			return
		}
		n := *s.Health
		n.Log = append(append([]HealthProbe{}, n.Log...), probe)
		if len(n.Log) > healthLog {
			n.Log = n.Log[len(n.Log)-healthLog:]
		}
		switch {
		case probe.ExitCode == 0:
			n.Status, n.FailingStreak = "healthy", 0
		case starting && n.Status == "starting":
		default:
			if n.FailingStreak++; n.FailingStreak >= h.Retries {
				n.Status = "unhealthy"
			}
		}
		if n.Status != s.Health.Status {
			m.cs.tell(m.c, "health_status: "+n.Status)
		}
		s.Health = &n
	})
}

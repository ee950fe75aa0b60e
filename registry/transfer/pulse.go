package transfer

import "time"

// slowest is how many bytes must come a second, so that a connection counts as one.
const slowest = 1 << 10

// pulse gives up a connection on which nothing moves for too long, or so little
// that it would never end.
type pulse struct {
	idle  time.Duration
	timer *time.Timer
	n     int64 // since the timer was set
}

func newPulse(idle time.Duration, end func()) *pulse {
	return &pulse{idle: idle, timer: time.AfterFunc(idle, end)}
}

// beat tells of bytes that moved.
func (p *pulse) beat(n int) {
	if p.n += int64(n); p.n >= int64(p.idle.Seconds()*slowest) {
		p.n = 0
		p.timer.Reset(p.idle)
	}
}

func (p *pulse) stop() { p.timer.Stop() }

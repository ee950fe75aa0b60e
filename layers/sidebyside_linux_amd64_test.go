package layers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers/archive"
	"github.com/hodbuild/hod/layers/faults"
)

// crowdOps are the operations that many processes do at once: those of the
// crash tests, and some that only look. None may fail because of another.
var crowdOps = []string{"put", "build", "ingest", "commit", "collect", "tag", "check", "save"}

func init() {
	crashOps["check"] = func(ctx context.Context, s *Store) error {
		r, err := s.Check(ctx, CheckOptions{})
		if err == nil && len(r.Problems) > 0 {
			err = fmt.Errorf("fsck beside others: %v", r.Problems)
		}
		return err
	}
	crashOps["save"] = func(ctx context.Context, s *Store) error {
		sink := archive.NewTar(io.Discard)
		return errors.Join(s.Save(ctx, sink, []string{"old"}, nil), sink.Close())
	}
}

// crowd counts what the processes did.
type crowd struct {
	mu           sync.Mutex
	ops, kills   int
	broken       []string
	wanted       int
	until        time.Time
	seed, number uint64
}

// enough tells a process whether it may stop, and gives the next random source.
func (c *crowd) enough() (*rand.Rand, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.number++
	done := len(c.broken) > 0 || c.kills >= c.wanted && time.Now().After(c.until)
	return rand.New(rand.NewPCG(c.seed, c.number)), done
}

func (c *crowd) note(op string, killed bool, err error, stderr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops++
	if killed {
		c.kills++
	} else if err != nil {
		c.broken = append(c.broken, fmt.Sprintf("%s: %v: %s", op, err, strings.TrimSpace(stderr)))
	}
}

// one starts an operation in a process of its own, and may kill it on the way.
func (c *crowd) one(r *rand.Rand, root string) {
	op := crowdOps[r.IntN(len(crowdOps))]
	cmd := exec.Command(os.Args[0])
	var stderr bytes.Buffer
	cmd.Env, cmd.Stderr = append(os.Environ(), crashOp+"="+op, crashRoot+"="+root), &stderr
	if err := cmd.Start(); err != nil {
		c.note(op, false, err, "")
		return
	}
	if r.IntN(2) == 0 {
		time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
		cmd.Process.Kill()
	}
	err := cmd.Wait()
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	c.note(op, status.Signaled(), err, stderr.String()) // one that had ended before was not killed
}

// Sixteen processes do everything at once on one store, and random ones are
// killed; the long form goes on for a minute and 500 kills.
func TestProcessesSideBySide(t *testing.T) {
	needRoot(t)
	root := crashStore(t)
	c := &crowd{wanted: faults.Strikes(50, 500), seed: uint64(time.Now().UnixNano())}
	if c.wanted == 500 {
		c.until = time.Now().Add(time.Minute)
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for {
				r, done := c.enough()
				if done {
					return
				}
				c.one(r, root)
			}
		})
	}
	wg.Wait()
	t.Logf("%d operations, %d killed, seed %d", c.ops, c.kills, c.seed)
	if len(c.broken) > 0 {
		t.Fatalf("%d failed: %s", len(c.broken), c.broken[0])
	}
	for _, op := range crowdOps {
		survives(t, op, root, false)
	}
}

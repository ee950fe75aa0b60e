package main_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers/faults"
	"github.com/hodbuild/hod/layers/granted"
)

// crowdVerbs are the commands that many processes give one store at once, beside those of crashVerbs that never depend on
// another's. None may fail because of another, whether that one lives or was killed. OUT is a file of its own.
var crowdVerbs = [][]string{
	{"pull", "-q", "REGISTRY/app:1"},
	{"push", "-q", "REGISTRY/base:1"},
	{"build", "-q", "--network=none", "-t", "new", "."},
	{"build", "-q", "--no-cache", "--network=none", "-t", "new", "."},
	{"tag", "old", "another"},
	{"import", "spare.tar", "spare"},
	{"load", "-q", "-i", "app.tar"},
	{"save", "-o", "OUT", "old"},
	{"export", "-o", "OUT", "old"},
	{"rmi", "-f", "spare"},
	{"prune", "-f", "--cache"},
	{"prune", "-f"},
	{"images"},
	{"df"},
	{"fsck"},
}

// crowd is the processes, and what became of them.
type crowd struct {
	bed   *crashBed
	root  string
	takes []time.Duration // of each verb, alone

	mu          sync.Mutex // guards what follows
	r           *rand.Rand
	ops, killed int
	broken      []string
}

// next chooses a verb and when it is killed (0: never); done says that it was enough.
func (c *crowd) next(wanted int) (number, verb int, after time.Duration, done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops++
	verb = c.r.IntN(len(crowdVerbs))
	if c.r.IntN(2) > 0 {
		after = 1 + time.Duration(c.r.Int64N(2*int64(c.takes[verb])))
	}
	return c.ops, verb, after, c.killed >= wanted || len(c.broken) > 0
}

// one gives a command and may kill it on the way; one that ended before is not counted as killed.
func (c *crowd) one(number, verb int, after time.Duration) {
	var args []string
	for _, a := range crowdVerbs[verb] {
		args = append(args, strings.ReplaceAll(a, "OUT", fmt.Sprintf("out-%d.tar", number)))
	}
	argv := c.bed.argv(args)
	cmd := exec.Command(argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.bed.dir, append(os.Environ(), "HOD_ROOT="+c.root), &out, &out
	cmd.WaitDelay = time.Minute // what a killed one started may live on for a moment
	err := cmd.Start()
	if err == nil && after > 0 {
		defer time.AfterFunc(after, func() { cmd.Process.Kill() }).Stop()
	}
	if err == nil {
		err = cmd.Wait()
	}
	_ = os.Remove(fmt.Sprintf("%s/out-%d.tar", c.bed.dir, number)) // most verbs write none
	c.mu.Lock()
	defer c.mu.Unlock()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		c.killed++
	} else if err != nil {
		c.broken = append(c.broken, fmt.Sprintf("%v: %v: %s", args, err, &out))
	}
}

// TestVerbsSideBySide gives one store all sorts of commands at once and kills every other real process at a random
// moment: 50 of them, 500 in the long form. The others do what they should, and so does each command afterwards.
func TestVerbsSideBySide(t *testing.T) {
	granted.NeedRoot(t, "the bed's recipe has a RUN")
	b := newCrashBed(t, 100)
	seed := uint64(time.Now().UnixNano())
	c := &crowd{bed: b, root: b.store(t, ""), r: rand.New(rand.NewPCG(seed, 0))}
	b.holds(t, c.root, "old")
	again := func() {
		c.takes = nil
		for _, v := range crowdVerbs {
			began := time.Now()
			if _, err := b.hod(c.root, strings.Split(strings.ReplaceAll(strings.Join(v, "\n"), "OUT", "out.tar"), "\n")...); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			c.takes = append(c.takes, time.Since(began))
		}
	}
	again()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				number, verb, after, done := c.next(faults.Strikes(50, 500))
				if done {
					return
				}
				c.one(number, verb, after)
			}
		})
	}
	all.Wait()
	t.Logf("%d operations, %d killed, seed %d", c.ops-8, c.killed, seed)
	if len(c.broken) > 0 {
		t.Fatalf("%d failed: %s", len(c.broken), c.broken[0])
	}
	b.sound(t, c.root)
	again()
	b.sound(t, c.root)
	b.leavesNothing(t, c.root)
}

// Command demo shows hod's main job on this machine: an image is built from
// examples/greet, pushed to hod's own registry on loopback, pulled into a second,
// empty store and run isolated; then a source line changes, and the cache is seen
// at work. Every command is printed as a person would type it. Nothing is left.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	base := flag.String("base", "", "go: make the base of Go modules even where there is a busybox")
	flag.Parse()
	err := demo(ctx, *base)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// stage is the folder in which the demo plays.
type stage struct {
	ctx   context.Context
	dir   string
	hod   string
	addr  string
	flags string // that this machine's rung asks for
	still bool   // no process can be isolated here
	base  string
}

func demo(ctx context.Context, base string) (err error) {
	dir, err := os.MkdirTemp("", "hod-demo-")
	if err != nil {
		return err
	}
	hod, err := filepath.Abs("bin/hod")
	if err != nil {
		return err
	}
	s := &stage{ctx: ctx, dir: dir, hod: hod, base: base}
	defer func() {
		if rerr := removeAll(dir); err == nil {
			err = rerr
		}
	}()
	if s.addr, err = freePort(); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(dir, "greet"), os.DirFS("examples/greet")); err != nil {
		return err
	}
	if err := s.makeBase(); err != nil {
		return fmt.Errorf("make a base image: %w", err)
	}
	return s.play()
}

// play is the demo once there is a base image.
func (s *stage) play() error {
	image := s.addr + "/demo/greet:v1"
	if err := s.rung(); err != nil {
		return err
	}
	if err := s.run("hod --root one build" + s.flags + " -t greet greet"); err != nil {
		return err
	}
	stop, err := s.serve()
	if err != nil {
		return err
	}
	defer stop()
	for _, line := range []string{
		"hod --root one tag greet " + image,
		"hod --root one push " + image,
		"hod --root two pull " + image,
		"hod --root two images",
	} {
		if err := s.run(line); err != nil {
			return err
		}
	}
	if s.still {
		return nil
	}
	if err := s.run("hod --root two run --rm" + s.flags + " " + image); err != nil {
		return err
	}
	names := filepath.Join(s.dir, "greet/names.txt")
	fmt.Println("\n$ echo Katherine >> greet/names.txt")
	text, err := os.ReadFile(names)
	if err == nil {
		err = os.WriteFile(names, append(text, "Katherine\n"...), 0o644)
	}
	if err != nil {
		return err
	}
	for _, line := range []string{
		"hod --root one build" + s.flags + " -t greet greet",
		"hod --root one build" + s.flags + " -t greet greet",
		"hod --root one run --rm" + s.flags + " greet",
	} {
		if err := s.run(line); err != nil {
			return err
		}
	}
	return nil
}

// rung finds out how much isolation this machine grants, and says so where it is
// not all: without a network of its own a container has none, and where nothing
// can be isolated the demo carries an image whose recipe needs no process.
func (s *stage) rung() error {
	var out []byte
	for _, flags := range []string{"", " --network none"} {
		cmd := exec.CommandContext(s.ctx, s.hod, strings.Fields("--root one run --rm"+flags+" base sh -c :")...)
		cmd.Dir = s.dir
		var err error
		if out, err = cmd.CombinedOutput(); err == nil {
			s.flags = flags
			if flags != "" {
				fmt.Println("\n# This machine grants no network of one's own: RUN and containers go without.")
			}
			return nil
		}
	}
	s.still = true
	fmt.Printf("\n# This machine isolates no process, so there is no RUN and no run:\n# %s\n", strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", "\n# "))
	recipe := "FROM base\nCOPY names.txt /names.txt\nCMD [\"cat\", \"/names.txt\"]\n"
	return os.WriteFile(filepath.Join(s.dir, "greet/Dockerfile"), []byte(recipe), 0o644)
}

// run prints a command, does it, and says what it took.
func (s *stage) run(line string) error {
	fmt.Printf("\n$ %s\n", line)
	words := strings.Fields(line)
	cmd := exec.CommandContext(s.ctx, s.hod, words[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, os.Stdout, os.Stderr
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	fmt.Printf("# took %.2f s, peak memory %d MiB\n", time.Since(begin).Seconds(), peak(cmd.ProcessState)>>20)
	return nil
}

// serve starts the registry and waits until it listens.
func (s *stage) serve() (stop func(), err error) {
	line := "hod --root registry serve --addr " + s.addr
	fmt.Printf("\n$ %s &\n", line)
	cmd := exec.CommandContext(s.ctx, s.hod, strings.Fields(line)[1:]...)
	var log bytes.Buffer
	cmd.Dir, cmd.Stderr = s.dir, &log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may be gone
		_ = cmd.Wait()
	}
	for range 100 {
		if c, err := net.Dial("tcp", s.addr); err == nil {
			return stop, c.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("%s does not listen: %s", line, log.String())
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

package corpus

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Result is what a build did.
type Result struct {
	Failed   bool
	Message  string // what was printed besides results
	Stdout   string
	Images   []*Image
	Warnings []string // "line rule", sorted
}

// Hod builds cases with a hod binary.
type Hod struct {
	Binary string
	Root   string // of the store
	Reader *Reader
	Env    []string
	Prefix []string // what runs the binary: setpriv …, sh -c 'umask …'
}

// Load brings a base into the store.
func (h *Hod) Load(ctx context.Context, b Base) error {
	file := filepath.Join(filepath.Dir(h.Root), filepath.Base(h.Root)+"-"+b.Name+".tar")
	if err := os.WriteFile(file, b.Archive, 0o644); err != nil {
		return err
	}
	defer os.Remove(file)
	cmd := h.command(ctx, filepath.Dir(h.Root), "load", "-q", "-i", file)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("load %s: %w: %s", b.Name, err, out)
	}
	return nil
}

func (h *Hod) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	words := append(slices.Clone(h.Prefix), h.Binary)
	words = append(words, args...)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "HOD_ROOT=" + h.Root, "NO_COLOR=1"}, h.Env...)
	return cmd
}

// Build builds a case that was laid at p; more are flags besides its own.
func (h *Hod) Build(ctx context.Context, c *Case, p Place, more ...string) (*Result, error) {
	out := filepath.Join(p.Dir, "out.tar")
	args := []string{"build"}
	if !c.Prints() {
		args = append(args, "--progress=json", "-o", "type=oci,compression=uncompressed,force-compression=true,dest="+out)
	}
	for _, a := range append(more, c.Args...) {
		args = append(args, p.Text(a))
	}
	cmd := h.command(ctx, p.Dir, append(args, p.Text(c.Context))...)
	for _, e := range c.Env {
		cmd.Env = append(cmd.Env, p.Text(e))
	}
	if c.Stdin != "" {
		in, err := os.Open(p.path(c.Stdin))
		if err != nil {
			return nil, err
		}
		defer in.Close()
		cmd.Stdin = in
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	r := &Result{Failed: err != nil, Stdout: stdout.String()}
	r.readProgress(stderr.String())
	if r.Failed || c.Prints() {
		return r, nil
	}
	r.Images, err = h.Reader.Archive(out)
	return r, err
}

// readProgress takes warnings out of what --progress=json says, and keeps what a user would read.
func (r *Result) readProgress(text string) {
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		var event struct {
			Event   string
			Text    string
			Error   string
			Warning struct {
				Rule string
				Line int
			}
		}
		if json.Unmarshal(s.Bytes(), &event) != nil {
			r.Message += s.Text() + "\n"
			continue
		}
		switch event.Event {
		case "warning":
			r.Warnings = append(r.Warnings, fmt.Sprintf("%d %s", event.Warning.Line, event.Warning.Rule))
		case "output":
			r.Message += event.Text + "\n"
		}
	}
	slices.Sort(r.Warnings)
	r.Warnings = slices.Compact(r.Warnings)
}

// Calls says whether the case asks for something else than a build, which other clients do in other words.
func (c *Case) Calls() bool { return c.Prints() || slices.Contains(c.Args, "--call") }

// Prints says whether the case asks for something to be printed instead of built.
func (c *Case) Prints() bool {
	_, ok := c.Section("stdout")
	return ok
}

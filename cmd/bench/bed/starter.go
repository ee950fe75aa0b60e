package bed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// starter is the small process that starts what is measured. The kernel counts
// what a parent held when it forked as memory of the child, across execve(2) too:
// a benchmark that holds 40 MB would find 40 MB in everything it starts.
type starter struct {
	ask  *json.Encoder
	hear *json.Decoder
}

type request struct {
	Commands []Command
	AtOnce   bool
}

// usage is what processes took, all their children with them.
type usage struct {
	Wall, CPU time.Duration
	Memory    int64  // bytes, of the largest process
	Failed    string // why one of them failed
}

// starting, as the only argument, makes this program a starter.
const starting = "start-what-is-measured"

// newStarter runs this program again as a starter, which ends with it.
func newStarter() (*starter, error) {
	cmd := exec.Command("/proc/self/exe", starting)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &starter{ask: json.NewEncoder(in), hear: json.NewDecoder(out)}, cmd.Start()
}

// run has commands run one after another, or all at once.
func (s *starter) run(commands []Command, atOnce bool) (usage, error) {
	var u usage
	if err := s.ask.Encode(request{commands, atOnce}); err != nil {
		return u, err
	}
	if err := s.hear.Decode(&u); err != nil {
		return u, fmt.Errorf("the process that starts what is measured is gone: %w", err)
	}
	if u.Failed != "" {
		return u, errors.New(u.Failed)
	}
	return u, nil
}

// Start makes this process a starter when [Make] began it as one, and says so
// when it has ended. A program that makes a bed calls it first of all.
func Start() bool {
	if len(os.Args) != 2 || os.Args[1] != starting {
		return false
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "bench: start: %v\n", err)
		os.Exit(1)
	}
	return true
}

func serve(in io.Reader, out io.Writer) error {
	answers := json.NewEncoder(out)
	for requests := json.NewDecoder(in); ; {
		var r request
		if err := requests.Decode(&r); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if err := answers.Encode(perform(r)); err != nil {
			return err
		}
	}
}

func perform(r request) usage {
	var all usage
	begun := time.Now()
	var waits []func() (usage, error)
	for _, c := range r.Commands {
		wait := c.start()
		if r.AtOnce {
			waits = append(waits, wait)
		} else if !all.add(wait) {
			break
		}
	}
	for _, wait := range waits {
		all.add(wait)
	}
	all.Wall = time.Since(begun)
	return all
}

// add waits for a process, and says whether it ended well.
func (u *usage) add(wait func() (usage, error)) bool {
	one, err := wait()
	u.CPU, u.Memory = u.CPU+one.CPU, max(u.Memory, one.Memory)
	if err != nil {
		u.Failed = err.Error()
	}
	return err == nil
}

// start starts a command; what it gives waits for the end.
func (c Command) start() func() (usage, error) {
	var out bytes.Buffer
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	// A file, not a pipe: what a tool leaves running would hold a pipe open.
	log, err := os.CreateTemp("", "bench-log-")
	if err == nil {
		os.Remove(log.Name())
		cmd.Stdout, cmd.Stderr = log, log
		err = cmd.Start()
	}
	return func() (usage, error) {
		if err != nil {
			return usage{}, err
		}
		defer log.Close()
		err := cmd.Wait()
		if err != nil {
			_, _ = log.Seek(0, 0)
			_, _ = out.ReadFrom(log)
			line, text := strings.Join(c.Argv, " "), out.String()
			return usage{}, fmt.Errorf("%s: %w: %s", line[:min(len(line), 100)], err, text[max(0, len(text)-300):])
		}
		r := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		return usage{CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), Memory: r.Maxrss << 10}, nil
	}
}

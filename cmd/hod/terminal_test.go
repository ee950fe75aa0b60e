//go:build linux

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers/granted"
)

// screen is a real terminal: a tmux server of its own with one window.
type screen struct {
	t      *testing.T
	socket string
}

// newScreen starts a shell on a terminal of so many columns and lines, in a
// folder with a store and a base image.
func newScreen(t *testing.T, columns, lines string, env ...string) *screen {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("there is no tmux, which is the terminal of this test")
	}
	if !granted.Root() {
		t.Skip("the steps of this build want root")
	}
	dir := t.TempDir()
	s := &screen{t, filepath.Join(dir, "tmux")}
	rc := filepath.Join(dir, "rc")
	text := "PS1='ready> '; cd " + dir + "; export HISTFILE=/dev/null HOD_ROOT=" + dir + "/store PATH=" + filepath.Dir(hod) + ":$PATH"
	for _, e := range env {
		text += "; export " + e
	}
	for name, text := range map[string]string{rc: text + "; clear\n", dir + "/Dockerfile": recipe} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	importBusybox(t, dir)
	s.tmux("-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", lines, "bash --noprofile --rcfile "+rc)
	t.Cleanup(func() { s.tmux("kill-server") })
	s.await(`(?m)^ready>`)
	return s
}

const recipe = `FROM base
RUN printf '\033]2;owned\007\033[2J first %s line\n' proper
ARG FOREVER
RUN echo waiting line; [ -z "$FOREVER" ] || sleep 1000
`

func importBusybox(t *testing.T, dir string) {
	t.Helper()
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := "cp /bin/busybox root/bin && for t in sh sleep cat wc test; do ln -s busybox root/bin/$t; done && tar -C root -c . | " + hod + " --root store import - base"
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make a base: %v: %s", err, out)
	}
}

func (s *screen) tmux(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", s.socket}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (s *screen) shows() string { s.t.Helper(); return s.tmux("capture-pane", "-p") }

func (s *screen) types(keys ...string) { s.tmux(append([]string{"send-keys"}, keys...)...) }

// await waits until the screen matches, and gives it.
func (s *screen) await(pattern string) string {
	s.t.Helper()
	return s.until(pattern, regexp.MustCompile(pattern).MatchString)
}

func (s *screen) until(what string, ok func(string) bool) string {
	s.t.Helper()
	var text string
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if text = s.shows(); ok(text) {
			return text
		}
	}
	s.t.Fatalf("never came: %s\n%s", what, text)
	return ""
}

// TestTerminal looks at a build on a real terminal: the live lines, another
// width while it runs, ctrl-C, and what is left after each.
func TestTerminal(t *testing.T) {
	s := newScreen(t, "80", "20", "NO_COLOR=")
	s.types("hod build -t app --build-arg FOREVER=1 .", "Enter")
	text := s.await(`waiting line\n building app`)
	for _, want := range []string{`(?m)^ ✓ \[2/3\] RUN printf.* 0\.\ds$`, `(?m)^ \S \[3/3\] RUN echo waiting line`, `(?m)^   │ waiting line$`} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %s on\n%s", want, text)
		}
	}
	if title := s.tmux("display-message", "-p", "#{pane_title}"); strings.Contains(title, "owned") {
		t.Errorf("a step has set the title: %s", title)
	}
	for _, columns := range []string{"44", "100", "30"} {
		s.tmux("resize-window", "-x", columns, "-y", "20")
		s.until("one frame at "+columns, func(text string) bool {
			return strings.Count(text, "building app") == 1 && strings.Count(text, "│ waiting line") == 1
		})
	}
	s.tmux("resize-window", "-x", "80", "-y", "20")
	s.types("C-c")
	text = s.await(`hod: interrupted\nready>`)
	if strings.Contains(text, "│ waiting") || strings.Contains(text, "building app") {
		t.Errorf("something is left of the live view:\n%s", text)
	}
	s.types("clear; stty -a | grep -wo echo; hod build -t app .", "Enter")
	text = s.await(`named docker.io/library/app:latest\nready>`)
	for _, want := range []string{`(?m)^echo$`, `(?m)^ = \[2/3\] RUN printf.*cached$`, `(?m)^ ✓ \[3/3\] RUN echo`, `(?m)^[\d.]+s: 1 cached, 1 ran`} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %s on\n%s", want, text)
		}
	}
}

// TestColours: there are some, and none with NO_COLOR.
func TestColours(t *testing.T) {
	for _, env := range []string{"NO_COLOR=", "NO_COLOR=1"} {
		s := newScreen(t, "80", "20", env)
		s.types("hod build -q . >/dev/null; clear; hod build .", "Enter")
		s.await(`image sha256:\S+`)
		s.await(`
ready>`)
		colours := regexp.MustCompile(`\x1b\[[1-9]`).MatchString(s.tmux("capture-pane", "-p", "-e"))
		if want := env == "NO_COLOR="; colours != want {
			t.Errorf("%s: colours are there: %v\n%s", env, colours, s.shows())
		}
	}
}

// TestCompletion presses the tabulator in real shells.
func TestCompletion(t *testing.T) {
	for shell, start := range map[string]string{
		"bash": "exec bash --noprofile --norc",
		"zsh":  "exec zsh -f",
		"fish": "exec fish --no-config",
	} {
		t.Run(shell, func(t *testing.T) {
			if _, err := exec.LookPath(shell); err != nil {
				t.Skipf("there is no %s", shell)
			}
			s := newScreen(t, "80", "20", "XDG_DATA_HOME=$PWD HOME=$PWD TERM=screen")
			s.types(start, "Enter")
			if shell == "zsh" {
				s.types("autoload -U compinit && compinit -u", "Enter")
			}
			if shell == "fish" {
				s.types("hod completion fish | source; echo set", "Enter")
			} else {
				s.types("source <(hod completion "+shell+"); echo set", "Enter")
			}
			s.await(`(?m)^set\s*$`)
			for typed, want := range map[string]string{
				"hod versi":              `hod version`,
				"hod build --no-cache-f": `hod build --no-cache-filter`,
				"hod rmi ba":             `hod rmi base:latest`,
				"hod tag ba":             `hod tag base:latest`,
			} {
				s.types("C-u")
				s.types(typed)
				s.types("Tab")
				s.await(want)
			}
		})
	}
}

// TestLoginAsks logs in on a terminal: the user's name is shown and the password is
// not, and ctrl-C ends each question and gives the terminal back.
func TestLoginAsks(t *testing.T) {
	s := newScreen(t, "100", "20", "HOME=$PWD")
	users := "alice:$2a$04$Td62LyvIyBI3gRyH.opT9e1RzVSvrRKZmB2ZAGZvaABZPCq8IeEtK\n" // secret
	if err := os.WriteFile(filepath.Join(filepath.Dir(s.socket), "users"), []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	s.types("hod serve -q --addr 127.0.0.1:0 --htpasswd users 2>said & until grep -q on said; do sleep 0.1; done; at=$(sed 's/.* on //' said); clear", "Enter")
	s.await(`^ready> *\n`)
	for _, question := range []string{"hod login $at", "hod login -u alice $at"} {
		s.types("clear; "+question, "Enter")
		s.await(`^(Username|Password): *\n`)
		s.types("C-c")
		s.await(`hod: interrupted\nready>`)
		s.types("clear; stty -a | grep -wo echo", "Enter")
		s.await(`^echo\nready>`)
	}
	s.types("clear; hod login $at", "Enter")
	s.await(`^Username:`)
	s.types("alice", "Enter")
	s.await(`Username: alice\nPassword:`)
	s.types("secret", "Enter")
	if text := s.await(`Login Succeeded\n(.*\n)+ready>`); strings.Contains(text, "secret") {
		t.Errorf("the password is shown:\n%s", text)
	}
	s.types("clear; kill %1; wait; echo ended", "Enter")
	s.await(`(?m)^ended`)
}

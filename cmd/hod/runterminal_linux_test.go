package main_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestTerminalCloses closes the window in which somebody works in a container:
// what was attached ends, the container lives on where its program takes no notice.
func TestTerminalCloses(t *testing.T) {
	s := newScreen(t, "80", "20")
	s.tmux("new-window", "bash --noprofile --rcfile "+filepath.Join(filepath.Dir(s.socket), "rc"))
	s.await(`ready>`)
	s.types("clear; echo $$ >client; exec hod run -it --name left --network none base sh -c 'trap : HUP; echo be''gun; while sleep 0.1; do :; done'", "Enter")
	s.await(`(?m)^begun`)
	s.tmux("kill-window")
	s.types("clear; while kill -0 $(cat client) 2>/dev/null; do sleep 0.1; done; hod ps --filter name=left --format '{{.State}}'", "Enter")
	s.await(`(?m)^running$`)
	s.types("clear; hod rm -f left", "Enter")
	s.await(`(?m)^left$`)
}

// TestContainerTerminal types into containers on a real terminal: its size and
// changes of it, ctrl-C inside, the keys that detach, attach and exec, and what
// the terminal is like after each.
func TestContainerTerminal(t *testing.T) {
	s := newScreen(t, "80", "20")
	// A shell whose prompt is not the outer one.
	in := "sh -c 'PS1=\"in> \" exec busybox sh'"
	again := func() { // as it was before
		s.types("clear; stty -a | grep -cwE -- '-(echo|icanon|isig|opost)'", "Enter")
		s.await(`(?m)^0\nready>`)
	}
	s.types("clear; hod run -it --name one --network none base "+in, "Enter")
	s.await(`(?m)^in>`)
	s.types("busybox stty size", "Enter")
	s.await(`(?m)^20 80$`)
	s.tmux("resize-window", "-x", "70", "-y", "15")
	s.types("busybox stty size", "Enter")
	s.until("the new size", func(text string) bool {
		if strings.Contains(text, "\n15 70\n") {
			return true
		}
		s.types("busybox stty size", "Enter")
		return false
	})
	s.types("echo be''gins; cat", "Enter")
	s.await(`(?m)^begins$`) // the shell reads no more
	s.types("typed line", "Enter")
	s.await(`typed line\ntyped line`)
	s.types("C-c")
	s.await(`\^C\nin>`)
	s.types("echo code $?", "Enter")
	s.await(`(?m)^code 130$`)
	s.types("C-p", "C-q")
	s.await(`ready>`)
	again()
	s.types("clear; hod attach --detach-keys ctrl-a,d one", "Enter", "echo at$((1+1))ached", "Enter")
	s.await(`(?m)^at2ached$`)
	s.types("C-a", "d")
	s.await(`ready>`)
	again()
	s.types("clear; hod exec -it one "+in+"; echo left $?", "Enter")
	s.await(`(?m)^in>`)
	s.types("busybox stty size; exit 7", "Enter")
	s.await(`(?m)^15 70$`)
	s.await(`(?m)^left 7$`)
	again()
	s.types("clear; (sleep 1; hod kill one >/dev/null) & hod attach one; echo left $?", "Enter")
	s.await(`(?m)^left 137$`)
	again()
	s.types("clear; hod rm -f one", "Enter")
	s.await(`(?m)^one$`)
	// Below an init the terminal is the program's too: ctrl-C is for what the shell runs.
	s.types("clear; hod run -it --rm --init --network none base "+in, "Enter")
	s.await(`(?m)^in>`)
	s.types("echo be''gins; cat", "Enter")
	s.await(`(?m)^begins$`)
	s.types("C-c")
	s.await(`\^C\nin>`)
	s.types("exit 3", "Enter")
	s.await(`ready>`)
	s.types("clear; hod run -it --rm --network none base true < /dev/null; echo left $?", "Enter")
	s.await(`the input device is not a TTY[^\n]*\n[^\n]*left 1\b`)
}

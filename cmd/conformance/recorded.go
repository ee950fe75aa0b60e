package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// recordedBases is what stands between the recorded builds and hod: they import their bases as bare files, and were
// recorded with bases that have a command.
const recordedBases = `#!/bin/sh
if [ "$1" = import ]; then
	case $3 in
	*/busybox:*) exec %[1]s import --change 'CMD ["sh"]' "$2" "$3" ;;
	*/alpine:*) exec %[1]s import --change 'CMD ["/bin/sh"]' "$2" "$3" ;;
	esac
fi
exec %[1]s "$@"
`

// runRecorded replays the builds that were recorded while BuildKit ran its own tests, where they lie beside the project.
func runRecorded(ctx context.Context, o options) score {
	s := score{name: "recorded builds of BuildKit's own tests", note: "the bases are given their commands"}
	replay := filepath.Join(o.repo, "../shared/cases/replay.py")
	if _, err := os.Stat(replay); err != nil {
		return s.left(errors.New("the folder of recorded builds is not there"))
	}
	wrapper := filepath.Join(o.work, "hod-with-commands")
	if err := os.WriteFile(wrapper, fmt.Appendf(nil, recordedBases, o.hod), 0o755); err != nil {
		return s.left(err)
	}
	cmd := exec.CommandContext(ctx, "python3", replay, wrapper, "--only", o.only.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	os.Stdout.Write(out)
	counts := regexp.MustCompile(`(\d+) passed, (\d+) failed`).FindSubmatch(out)
	if counts == nil {
		return s.left(fmt.Errorf("replay: %v", err))
	}
	s.passed, _ = strconv.Atoi(string(counts[1]))
	failed, _ := strconv.Atoi(string(counts[2]))
	s.of = s.passed + failed
	return s
}

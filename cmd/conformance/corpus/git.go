package corpus

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// makeRepository makes a bare repository of a section: entries of a tree, and the lines "commit MESSAGE", "tag NAME",
// "branch NAME" and "pointer FILE PATH" (which writes the name of the last commit beside the context).
func makeRepository(dir, text string) error {
	work := dir + ".work"
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	if err := git(work, "init", "-q", "-b", "main"); err != nil {
		return err
	}
	for line := range strings.SplitSeq(text, "\n") {
		word, rest, _ := strings.Cut(line, " ")
		var err error
		switch word {
		case "":
		case "commit":
			if err = git(work, "add", "-A"); err == nil {
				err = git(work, "commit", "-q", "--allow-empty", "-m", rest)
			}
		case "tag", "branch":
			err = git(work, word, rest)
		case "annotated":
			err = git(work, "tag", "-a", "-m", rest, rest)
		default:
			err = addTo(work, line)
		}
		if err != nil {
			return err
		}
	}
	if err := git(work, "clone", "-q", "--bare", work, dir); err != nil {
		return err
	}
	return git(dir, "config", "uploadpack.allowAnySHA1InWant", "true")
}

func addTo(work, line string) error {
	list, err := ParseTree(line)
	if err != nil || len(list) == 0 {
		return err
	}
	return list[0].make(filepath.Join(work, list[0].Path))
}

// git runs git so that the same commands make the same commits.
func git(dir string, args ...string) error {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_AUTHOR_DATE=1600000000 +0000",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org", "GIT_COMMITTER_DATE=1600000000 +0000")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, out)
	}
	return nil
}

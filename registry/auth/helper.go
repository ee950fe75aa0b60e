package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers/userns"
)

const (
	helperTime   = 2 * time.Minute // helpers may ask the user something
	helperOutput = 1 << 20
)

// helperName is what may stand in a file as a helper: never a path, so that a
// file cannot name a program outside of PATH.
var helperName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)

// notFound are the words by which the protocol says that there is nothing.
const notFound = "credentials not found"

// secret is what helpers take and give.
type secret struct {
	ServerURL string
	Username  string
	Secret    string
}

// ask gets a registry's credential from a helper; anonymous if it has none.
func ask(ctx context.Context, helper, server string) (Credential, error) {
	out, err := call(ctx, helper, "get", []byte(server))
	if err != nil && strings.Contains(string(out), notFound) {
		return Credential{}, nil
	}
	if err != nil {
		return Credential{}, err
	}
	var s secret
	if err := json.Unmarshal(out, &s); err != nil {
		return Credential{}, fmt.Errorf("credential helper %s: its answer is not JSON", helper)
	}
	if s.Username == "<token>" {
		return Credential{Identity: s.Secret}, nil
	}
	return Credential{User: s.Username, Password: s.Secret}, nil
}

// keep gives a credential to a helper.
func keep(ctx context.Context, helper, server string, c Credential) error {
	s := secret{ServerURL: server, Username: c.User, Secret: c.Password}
	if c.Identity != "" {
		s.Username, s.Secret = "<token>", c.Identity
	}
	in, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = call(ctx, helper, "store", in)
	return err
}

// forget takes a registry's credential from a helper, and tells whether it had
// one.
func forget(ctx context.Context, helper, server string) (bool, error) {
	c, err := ask(ctx, helper, server)
	if err != nil || c.Anonymous() {
		return false, err
	}
	_, err = call(ctx, helper, "erase", []byte(server))
	return true, err
}

// call runs a helper. Its output goes into no error, since it may hold secrets.
func call(ctx context.Context, helper, verb string, in []byte) ([]byte, error) {
	if !helperName.MatchString(helper) {
		return nil, fmt.Errorf("credential helper %q: that is not a helper's name", helper)
	}
	path, err := exec.LookPath("docker-credential-" + helper)
	if err != nil {
		return nil, &missingHelper{helper: helper, err: err}
	}
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("credential helper %s: %s is found by a relative PATH, which is not safe", helper, path)
	}
	ctx, cancel := context.WithTimeout(ctx, helperTime)
	defer cancel()
	out := &bounded{left: helperOutput, full: cancel}
	cmd := exec.CommandContext(ctx, path, verb)
	cmd.SysProcAttr = userns.AsUser(nil) // whose keyring it asks
	cmd.Stdin, cmd.Stdout = bytes.NewReader(in), out
	cmd.WaitDelay = time.Second // a helper's child may keep the pipe open
	if err := cmd.Run(); err != nil {
		return out.buf.Bytes(), fmt.Errorf("credential helper %s: %s: %w", helper, verb, err)
	}
	return out.buf.Bytes(), nil
}

// missingHelper is a helper that a file names and nobody installed.
type missingHelper struct {
	helper string
	err    error
}

func (e *missingHelper) Error() string {
	return fmt.Sprintf("credential helper %s: %v", e.helper, e.err)
}

func (e *missingHelper) Unwrap() error { return e.err }

// Hint is what to do about it.
func (e *missingHelper) Hint() string {
	return fmt.Sprintf("install docker-credential-%s, or take it out of credsStore and credHelpers in config.json", e.helper)
}

// bounded is a buffer that refuses more than it is for, and says so. The buffer
// is not embedded: io.Copy would find its ReadFrom and pass by Write.
type bounded struct {
	buf  bytes.Buffer
	left int
	full func()
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		b.full()
		return 0, errors.New("too much output")
	}
	return b.buf.Write(p)
}

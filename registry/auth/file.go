package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hodbuild/hod/layers/lockfile"
)

// maxFile bounds a file of credentials.
const maxFile = 4 << 20

// file is one config.json or auth.json. What hod does not know in it is kept.
type file struct {
	path    string
	rest    map[string]json.RawMessage
	auths   map[string]entry
	raw     map[string]json.RawMessage // auths as they are written
	helpers map[string]string
	helper  string
}

// entry is one registry's line in auths.
type entry struct {
	Auth          string `json:"auth,omitempty"`
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"`
	RegistryToken string `json:"registrytoken,omitempty"`
}

// read reads a file of credentials; one that is not there is empty.
func read(path string) (*file, error) {
	f := &file{path: path}
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read credentials: %s is larger than %d bytes", path, maxFile)
	}
	if err := f.parse(data); err != nil {
		return nil, fmt.Errorf("parse credentials in %s: %w", path, err)
	}
	return f, nil
}

func (f *file) parse(data []byte) error {
	if len(strings.TrimSpace(string(data))) == 0 {
		return nil
	}
	if err := unmarshal(data, &f.rest); err != nil {
		return err
	}
	for key, into := range map[string]any{"auths": &f.raw, "credHelpers": &f.helpers, "credsStore": &f.helper} {
		if err := unmarshal(f.rest[key], into); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	f.auths = map[string]entry{}
	for key, raw := range f.raw {
		var e entry
		if err := unmarshal(raw, &e); err != nil {
			return fmt.Errorf("auths of %q: %w", key, err)
		}
		f.auths[key] = e
	}
	return nil
}

// unmarshal is json.Unmarshal that takes nothing for nothing, and whose errors
// do not repeat what the file holds.
func unmarshal(data []byte, into any) error {
	if len(data) == 0 {
		return nil
	}
	err := json.Unmarshal(data, into)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("field %q has the wrong type", wrong.Field)
	}
	if err != nil {
		return errors.New("it is not JSON")
	}
	return nil
}

func (f *file) lookup(ctx context.Context, registry, repository string) (Credential, error) {
	for key, helper := range f.helpers {
		if at, _ := keyRegistry(key); at == registry {
			return ask(ctx, helper, serverKey(registry))
		}
	}
	if f.helper != "" {
		c, err := ask(ctx, f.helper, serverKey(registry))
		if err != nil || !c.Anonymous() {
			return c, err
		}
	}
	key, ok := f.key(registry, repository)
	if !ok {
		return Credential{}, nil
	}
	c, err := f.auths[key].credential()
	if err != nil {
		return c, fmt.Errorf("credentials of %q in %s: %w", key, f.path, err)
	}
	return c, nil
}

// key finds the entry that fits best: the longest folder, and of two ways to
// write the same the plain one.
func (f *file) key(registry, repository string) (string, bool) {
	best, bestFolder, found := "", "", false
	for key, e := range f.auths {
		at, folder := keyRegistry(key)
		if at != registry || !covers(folder, repository) || e == (entry{}) {
			continue
		}
		better := len(folder) > len(bestFolder)
		if len(folder) == len(bestFolder) {
			better = len(key) < len(best) || len(key) == len(best) && key < best
		}
		if !found || better {
			best, bestFolder, found = key, folder, true
		}
	}
	return best, found
}

func (e entry) credential() (Credential, error) {
	c := Credential{User: e.Username, Password: e.Password, Identity: e.IdentityToken, Token: e.RegistryToken}
	if e.Auth == "" {
		return c, nil
	}
	plain, err := base64.StdEncoding.DecodeString(e.Auth)
	if err != nil {
		return Credential{}, errors.New("auth is not base64")
	}
	user, password, ok := strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
	if !ok || user == "" {
		return Credential{}, errors.New("auth is not user:password")
	}
	c.User, c.Password = user, password
	return c, nil
}

// write puts the file in place of the old one, readable by its owner alone. A
// symbolic link stays one: what it names is replaced.
func (f *file) write() error {
	path := f.path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if f.rest == nil {
		f.rest = map[string]json.RawMessage{}
	}
	auths, err := json.Marshal(f.raw)
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	f.rest["auths"] = auths
	data, err := json.MarshalIndent(f.rest, "", "\t")
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	if err := lockfile.AtomicWrite(path, append(data, '\n'), 0o600, true); err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	return nil
}

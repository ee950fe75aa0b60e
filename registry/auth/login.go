package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers/lockfile"
)

// Save keeps the credential of a registry, or of a folder of its repositories
// ("host/team"): with the helper that the login file names for the registry, else
// in the file itself. It gives back where, in words.
func (f Files) Save(ctx context.Context, key string, c Credential) (where string, err error) {
	registry, folder := keyRegistry(key)
	err = f.change(ctx, f.Login, func(file *file) error {
		if helper := file.helperOf(registry); helper != "" {
			if folder != "" {
				return fmt.Errorf("credential helper %s keeps one credential for all of a registry", helper)
			}
			where = "credential helper " + helper
			return keep(ctx, helper, serverKey(registry), c)
		}
		raw, err := json.Marshal(entryOf(c))
		if err != nil {
			return err
		}
		file.drop(registry, folder)
		if file.raw == nil {
			file.raw = map[string]json.RawMessage{}
		}
		file.raw[fileKey(registry, folder)] = raw
		where = file.path
		return file.write()
	})
	if err != nil {
		return "", fmt.Errorf("keep the credentials of %s: %w", key, err)
	}
	return where, nil
}

// Erase forgets the credential of a registry, or of a folder of its repositories,
// wherever it lies, and tells whether there was one. Entries for other folders stay.
func (f Files) Erase(ctx context.Context, key string) (bool, error) {
	registry, folder := keyRegistry(key)
	erased, seen := false, map[string]bool{}
	var errs []error
	for _, path := range f.Paths {
		if _, err := os.Stat(path); err != nil || seen[path] {
			continue
		}
		seen[path] = true
		err := f.change(ctx, path, func(file *file) error {
			had, err := file.erase(ctx, registry, folder)
			erased = erased || had
			return err
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("forget the credentials of %s: %w", key, err))
		}
	}
	return erased, errors.Join(errs...)
}

func (f *file) erase(ctx context.Context, registry, folder string) (bool, error) {
	erased := false
	if helper := f.helperOf(registry); helper != "" && folder == "" {
		had, err := forget(ctx, helper, serverKey(registry))
		if err != nil {
			return false, err
		}
		erased = had
	}
	if !f.drop(registry, folder) {
		return erased, nil
	}
	return true, f.write()
}

// drop takes the entries of a registry's folder out of the file; the empty folder
// is the whole registry's own entry.
func (f *file) drop(registry, folder string) bool {
	dropped := false
	for key := range f.raw {
		if at, of := keyRegistry(key); at == registry && of == folder {
			delete(f.raw, key)
			dropped = true
		}
	}
	return dropped
}

// helperOf is the helper that keeps a registry's credential, if one does.
func (f *file) helperOf(registry string) string {
	for key, helper := range f.helpers {
		if at, _ := keyRegistry(key); at == registry {
			return helper
		}
	}
	return f.helper
}

func entryOf(c Credential) entry {
	e := entry{IdentityToken: c.Identity, RegistryToken: c.Token}
	if c.User != "" {
		e.Auth = base64.StdEncoding.EncodeToString([]byte(c.User + ":" + c.Password))
	}
	return e
}

// change reads a file and lets fn change it, with no other hod in between: the
// folder is locked, so that no lock file is left among other programs' files.
func (f Files) change(ctx context.Context, path string, fn func(*file) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	lock := lockfile.FromFile(dir)
	defer lock.Close()
	if err := lock.Exclusive(ctx); err != nil {
		return err
	}
	file, err := read(path)
	if err != nil {
		return err
	}
	return fn(file)
}

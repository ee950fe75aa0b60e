// Package auth finds, keeps and forgets the credentials of registries.
//
// Credentials lie where other programs keep them, so that one login serves all:
//
//   - $DOCKER_AUTH_CONFIG, the text of a config.json itself;
//   - the file $REGISTRY_AUTH_FILE, if set;
//   - Docker's config.json, in $DOCKER_CONFIG or ~/.docker;
//   - Podman's auth.json, in $XDG_RUNTIME_DIR/containers or ~/.config/containers.
//
// The first file that knows the registry rules. Within a file a helper program
// that is named for the registry (credHelpers) goes before the helper of all
// (credsStore), and that one before what the file itself holds (auths). Entries
// of auths may be for one repository or a folder of them ("host/team"); the
// longest that fits wins, and a fit ends at a slash: "host/team" is not for
// "host/teamwork". A host fits only itself, its port included.
//
// A helper that fails is an error and never "no credentials": asking the
// registry anonymously instead would hide what is wrong.
//
//	files := auth.Default()
//	c, err := files.Lookup(ctx, "ghcr.io", "team/app")
package auth

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// hub is the key under which Docker keeps the credentials of its own registry.
const hub = "https://index.docker.io/v1/"

// A Credential opens a registry. The zero Credential is anonymous.
type Credential struct {
	User     string
	Password string
	// Identity is a refresh token of a token server, in place of a password.
	Identity string
	// Token is sent as it is, as a bearer token.
	Token string
}

// Anonymous says whether there is nothing to show.
func (c Credential) Anonymous() bool { return c == Credential{} }

// Files are the places where credentials lie, the first to rule first.
type Files struct {
	// Inline is read before all files, and written like one.
	Inline string
	// Paths are read in this order; one that does not exist is passed over.
	Paths []string
	// Login is where Save writes.
	Login string
}

// inlineKey is the variable in which continuous integrations hand credentials on.
const inlineKey = "DOCKER_AUTH_CONFIG"

// Default gives the files of the user, from the environment.
func Default() Files { return fromEnv(os.Getenv, home()) }

func home() string {
	h, err := os.UserHomeDir()
	if err != nil {
		return "/"
	}
	return h
}

func fromEnv(getenv func(string) string, home string) Files {
	dir := getenv("DOCKER_CONFIG")
	if dir == "" {
		dir = filepath.Join(home, ".docker")
	}
	config := getenv("XDG_CONFIG_HOME")
	if config == "" {
		config = filepath.Join(home, ".config")
	}
	f := Files{Inline: getenv(inlineKey), Login: filepath.Join(dir, "config.json")}
	if own := getenv("REGISTRY_AUTH_FILE"); own != "" {
		f.Paths, f.Login = append(f.Paths, own), own
	}
	f.Paths = append(f.Paths, filepath.Join(dir, "config.json"))
	if run := getenv("XDG_RUNTIME_DIR"); run != "" {
		f.Paths = append(f.Paths, filepath.Join(run, "containers/auth.json"))
	}
	f.Paths = append(f.Paths, filepath.Join(config, "containers/auth.json"))
	return f
}

// Lookup finds the credential for a repository of a registry ("host[:port]");
// an empty repository asks for the registry as a whole. Where nobody knows one
// it is anonymous.
func (f Files) Lookup(ctx context.Context, registry, repository string) (Credential, error) {
	inline := &file{path: inlineKey}
	if err := inline.parse([]byte(f.Inline)); err != nil {
		return Credential{}, fmt.Errorf("parse credentials in %s: %w", inlineKey, err)
	}
	if cred, err := inline.lookup(ctx, canonical(registry), repository); err != nil || !cred.Anonymous() {
		return cred, err
	}
	for _, path := range f.Paths {
		c, err := read(path)
		if err != nil {
			return Credential{}, err
		}
		cred, err := c.lookup(ctx, canonical(registry), repository)
		if err != nil || !cred.Anonymous() {
			return cred, err
		}
	}
	return Credential{}, nil
}

// Resolve makes Files an authn.Keychain.
func (f Files) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return f.ResolveContext(context.Background(), r)
}

// ResolveContext makes Files an authn.ContextKeychain.
func (f Files) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	registry := r.RegistryStr()
	repository := strings.TrimPrefix(strings.TrimPrefix(r.String(), registry), "/")
	c, err := f.Lookup(ctx, registry, repository)
	if err != nil {
		return nil, err
	}
	return c.Authenticator(), nil
}

// Authenticator gives the credential to the library that speaks to registries.
func (c Credential) Authenticator() authn.Authenticator {
	if c.Anonymous() {
		return authn.Anonymous
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: c.User, Password: c.Password, IdentityToken: c.Identity, RegistryToken: c.Token,
	})
}

// canonical is the one name of a registry that has several.
func canonical(registry string) string {
	registry = strings.ToLower(registry)
	switch registry {
	case "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return "docker.io"
	}
	return registry
}

// serverKey is the key of a whole registry in auths, and what helpers are asked.
func serverKey(registry string) string {
	if registry == "docker.io" {
		return hub
	}
	return registry
}

// fileKey is the key of a folder of repositories in auths.
func fileKey(registry, folder string) string {
	if folder == "" {
		return serverKey(registry)
	}
	return registry + "/" + folder
}

// keyRegistry splits a key of auths ("host/team", "https://host/v1/") into its
// registry and the folder of repositories that it is for.
func keyRegistry(key string) (registry, folder string) {
	rest, old := key, false
	for _, scheme := range []string{"https://", "http://"} {
		if r, ok := strings.CutPrefix(rest, scheme); ok {
			rest, old = r, true
		}
	}
	registry, folder, _ = strings.Cut(rest, "/")
	folder = strings.Trim(folder, "/")
	if old || folder == "v1" || folder == "v2" {
		folder = "" // a URL of the interface, not a repository
	}
	return canonical(registry), folder
}

// covers says whether a folder of repositories has this one in it.
func covers(folder, repository string) bool {
	return folder == "" || repository == folder || strings.HasPrefix(repository, folder+"/")
}

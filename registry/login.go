package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/hodbuild/hod/layers"
)

// dockerHub is the key that Docker's credential files have for docker.io.
const dockerHub = "https://index.docker.io/v1/"

// configKey is how credential files call a registry.
func configKey(host string) string {
	if host == layers.DefaultRegistry {
		return dockerHub
	}
	return host
}

// Login asks the registry whether the credential is right, then saves it where
// Docker does: in the helper that config.json names, else in config.json.
func (c *Client) Login(ctx context.Context, host, user, password string) error {
	if err := c.checkLogin(ctx, host, user, password); err != nil {
		return fmt.Errorf("log in to %s: %w", host, err)
	}
	file, err := config.Load(config.Dir())
	if err != nil {
		return fmt.Errorf("log in to %s: %w", host, err)
	}
	key := configKey(host)
	auth := types.AuthConfig{Username: user, Password: password, ServerAddress: key}
	if err := file.GetCredentialsStore(key).Store(auth); err != nil {
		return fmt.Errorf("save the credential for %s: %w", host, err)
	}
	return nil
}

// checkLogin makes one request with the credential.
func (c *Client) checkLogin(ctx context.Context, host, user, password string) error {
	var opts []name.Option
	if c.plain(host) {
		opts = append(opts, name.Insecure)
	}
	if host == layers.DefaultRegistry {
		host = "index.docker.io"
	}
	reg, err := name.NewRegistry(host, opts...)
	if err != nil {
		return err
	}
	basic := &authn.Basic{Username: user, Password: password}
	t, err := transport.NewWithContext(ctx, reg, basic, c.base, nil)
	if err != nil {
		return dialError(host, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, reg.Scheme()+"://"+reg.RegistryStr()+"/v2/", nil)
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return dialError(host, err)
	}
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		resp.Body.Close()
		return errors.New("the user name or the password is wrong")
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(http.MethodGet, resp)
	}
	return resp.Body.Close()
}

// Logout forgets the credential of a registry.
func (c *Client) Logout(host string) error {
	file, err := config.Load(config.Dir())
	if err == nil {
		key := configKey(host)
		err = file.GetCredentialsStore(key).Erase(key)
	}
	if err != nil {
		return fmt.Errorf("log out of %s: %w", host, err)
	}
	return nil
}

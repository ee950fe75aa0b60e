package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/hodbuild/hod/registry/auth"
	"github.com/hodbuild/hod/registry/transfer"
)

// Login asks the registry whether the credential is right, then saves it where
// Docker does: in the helper that config.json names, else in config.json.
func (c *Client) Login(ctx context.Context, host, user, password string) error {
	if err := c.checkLogin(ctx, host, user, password); err != nil {
		return fmt.Errorf("log in to %s: %w", host, err)
	}
	_, err := c.auth.Save(ctx, host, auth.Credential{User: user, Password: password})
	return err
}

// checkLogin makes one request with the credential.
func (c *Client) checkLogin(ctx context.Context, host, user, password string) error {
	c.mu.Lock()
	ends, err := c.endpoints(host)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	at := ends[len(ends)-1]
	var opts []name.Option
	if at.scheme == "http" {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(at.host, opts...)
	if err != nil {
		return err
	}
	basic := &authn.Basic{Username: user, Password: password}
	t, err := transport.NewWithContext(ctx, reg, basic, at.rt, nil)
	if err != nil {
		return dialError(host, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.scheme+"://"+reg.RegistryStr()+"/v2/", nil)
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
		return transfer.Refusal(http.MethodGet, resp)
	}
	return resp.Body.Close()
}

// Logout forgets the credential of a registry, and tells whether there was one.
func (c *Client) Logout(ctx context.Context, host string) (bool, error) {
	return c.auth.Erase(ctx, host)
}

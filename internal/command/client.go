package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"os"
	"path/filepath"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/control"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
	"github.com/amanycodes/pine-gate/internal/store"
)

// client calls the control plane's API.
type client interface {
	// call sends a request, with a body in JSON unless that is nil, and decodes the
	// answer. Its errors suggest what to do next.
	call(method, path string, body, answer any) error
	Close() error
}

// adminFlags holds the flags that name the admin endpoint of a running Caddy.
type adminFlags struct{ address, config, adapter string }

func (f *adminFlags) add(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.address, "address", "", "the address of Caddy's admin endpoint, if not the default")
	flags.StringVarP(&f.config, "config", "c", "", "a configuration file that says where the admin endpoint is")
	flags.StringVarP(&f.adapter, "adapter", "a", "", "the name of the config adapter for --config")
}

// open returns a client of the admin endpoint. It does not connect yet.
func (f *adminFlags) open() (client, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(f.address, nil, f.config, f.adapter)
	if err != nil {
		return nil, fmt.Errorf("finding the admin endpoint: %w", err)
	}
	return adminClient{address: address}, nil
}

// clientFlags holds the flags that select a client: that of the admin endpoint, or
// of an embedded store.
type clientFlags struct {
	adminFlags
	dir string
}

func (f *clientFlags) add(cmd *cobra.Command) {
	f.adminFlags.add(cmd)
	cmd.PersistentFlags().StringVar(&f.dir, "store", "", "the directory of an embedded store that no gate has open, to work on it itself")
	cmd.MarkFlagsMutuallyExclusive("address", "store")
	cmd.MarkFlagsMutuallyExclusive("config", "store")
}

// open returns the client that the flags select.
func (f *clientFlags) open() (client, error) {
	if f.dir != "" {
		return openStore(f.dir)
	}
	admin, err := f.adminFlags.open()
	if err != nil {
		return nil, err
	}
	return hintingClient{admin}, nil
}

// hintingClient adds to a "connection refused" error that the command can also
// open a store.
type hintingClient struct{ client }

func (d hintingClient) call(method, path string, body, answer any) error {
	err := d.client.call(method, path, body, answer)
	if errors.Is(err, errNoAnswer) {
		return fmt.Errorf("%w; where no gate is to run, --store <dir> works on its store itself", err)
	}
	return err
}

// adminClient calls the admin endpoint of a running Caddy at an address.
type adminClient struct{ address string }

func (d adminClient) Close() error { return nil }

func (d adminClient) call(method, path string, body, answer any) error {
	var text io.Reader
	headers := make(http.Header)
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
		text = bytes.NewReader(encoded)
		headers.Set("Content-Type", "application/json")
	}
	res, err := caddycmd.AdminAPIRequest(d.address, method, control.Base+path, headers, text)
	if err != nil {
		return explain(d.address, err)
	}
	defer res.Body.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(answer); err != nil {
		return fmt.Errorf("reading the answer of %s: %w: is it Caddy's admin endpoint?", d.address, err)
	}
	return nil
}

// storeClient serves the API from an embedded store that no gate has open.
type storeClient struct {
	dir      string
	registry *registry.Registry
	api      *control.API
}

func openStore(dir string) (client, error) {
	d := &storeClient{dir: dir, registry: registry.New(store.KeysOpener(&config.Store{Dir: dir}), registry.Options{})}
	d.api = control.New(
		func() (control.Gate, error) { return storeGate{d.registry}, nil },
		func(*http.Request) string { return "command line" },
		zap.NewNop(),
	)
	return d, nil
}

func (d *storeClient) Close() error { return d.registry.Close() }

func (d *storeClient) call(method, path string, body, answer any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	req, err := http.NewRequest(method, control.Base+path, bytes.NewReader(encoded)) //nolint:noctx // it goes nowhere
	if err != nil {
		return err
	}
	if creates := method == http.MethodPost && (path == "keys" || path == "teams"); !creates {
		if _, err := os.Stat(filepath.Join(d.dir, store.KeysFile)); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no store of keys in %s: check --store; key create and team create make one", d.dir)
		}
	}
	if err := d.registry.Refresh(req.Context()); err != nil {
		return fmt.Errorf("opening the store in %s: %w; ask a gate that runs with --address", d.dir, err)
	}
	res := &responseBuffer{header: make(http.Header)}
	d.api.ServeHTTP(res, req)
	if res.code >= http.StatusBadRequest {
		var problem control.Problem
		if err := json.Unmarshal(res.body.Bytes(), &problem); err != nil {
			return fmt.Errorf("the store answers %d", res.code)
		}
		return errors.New(problem.Detail)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(res.body.Bytes(), answer)
}

// responseBuffer is a ResponseWriter that buffers the response.
type responseBuffer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (b *responseBuffer) Header() http.Header         { return b.header }
func (b *responseBuffer) WriteHeader(code int)        { b.code = code }
func (b *responseBuffer) Write(p []byte) (int, error) { return b.body.Write(p) }

// storeGate implements [control.Gate] for a store without a running gate.
type storeGate struct{ keys *registry.Registry }

func (s storeGate) Registry() (*registry.Registry, error) { return s.keys, nil }
func (s storeGate) Configured() iter.Seq[*keys.Key]       { return func(func(*keys.Key) bool) {} }
func (s storeGate) ConfiguredTeam(string) bool            { return false }
func (s storeGate) ServeUsage(http.ResponseWriter, *http.Request) *control.Problem {
	return control.NewProblem(http.StatusNotImplemented, "only a running gate has usage")
}
func (s storeGate) State() (control.State, *control.Problem) {
	return nil, control.NewProblem(http.StatusNotImplemented, "only a running gate has a state")
}

package pinegate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/control"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
)

// door is a way to the control plane's API.
type door interface {
	// ask sends a request, with a body in JSON unless that is nil, and decodes the
	// answer. Its errors say what to do next.
	ask(method, path string, body, answer any) error
	Close() error
}

// adminFlags say where the admin endpoint of a running Caddy is.
type adminFlags struct{ address, config, adapter string }

func (f *adminFlags) add(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.address, "address", "", "the address of Caddy's admin endpoint, if not the default")
	flags.StringVarP(&f.config, "config", "c", "", "a configuration file that says where the admin endpoint is")
	flags.StringVarP(&f.adapter, "adapter", "a", "", "the name of the config adapter for --config")
}

// open finds the admin endpoint. It does not ask it yet.
func (f *adminFlags) open() (door, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(f.address, nil, f.config, f.adapter)
	if err != nil {
		return nil, fmt.Errorf("finding the admin endpoint: %w", err)
	}
	return adminDoor{address: address}, nil
}

// doorFlags say which door a command takes.
type doorFlags struct {
	adminFlags
	dir string
}

func (f *doorFlags) add(cmd *cobra.Command) {
	f.adminFlags.add(cmd)
	cmd.PersistentFlags().StringVar(&f.dir, "store", "", "the directory of an embedded store that no gate has open, to work on it itself")
	cmd.MarkFlagsMutuallyExclusive("address", "store")
	cmd.MarkFlagsMutuallyExclusive("config", "store")
}

// open opens the door.
func (f *doorFlags) open() (door, error) {
	if f.dir != "" {
		return openStore(f.dir)
	}
	admin, err := f.adminFlags.open()
	if err != nil {
		return nil, err
	}
	return keptDoor{admin}, nil
}

// keptDoor is a door to what a store keeps, which can be had without a gate.
type keptDoor struct{ door }

func (d keptDoor) ask(method, path string, body, answer any) error {
	err := d.door.ask(method, path, body, answer)
	if errors.Is(err, errNobody) {
		return fmt.Errorf("%w; where no gate is to run, --store <dir> works on its store itself", err)
	}
	return err
}

// adminDoor is the admin endpoint of a running Caddy, by its address.
type adminDoor struct{ address string }

func (d adminDoor) Close() error { return nil }

func (d adminDoor) ask(method, path string, body, answer any) error {
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
		return explained(d.address, err)
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

// storeDoor is an embedded store that no gate has open.
type storeDoor struct {
	dir      string
	registry *registry.Registry
	api      *control.API
}

func openStore(dir string) (door, error) {
	store := &config.Store{Dir: dir}
	d := &storeDoor{dir: dir, registry: registry.New(registryOpener(store), registry.Options{})}
	d.api = control.New(
		func() (control.Gate, error) { return storedOnly{d.registry}, nil },
		func(*http.Request) string { return "command line" },
		zap.NewNop(),
	)
	return d, nil
}

func (d *storeDoor) Close() error { return d.registry.Close() }

func (d *storeDoor) ask(method, path string, body, answer any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	req, err := http.NewRequest(method, control.Base+path, bytes.NewReader(encoded)) //nolint:noctx // it goes nowhere
	if err != nil {
		return err
	}
	if err := d.registry.Refresh(req.Context()); err != nil {
		return fmt.Errorf("opening the store in %s: %w; ask a gate that runs with --address", d.dir, err)
	}
	res := &kept{header: make(http.Header)}
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

// kept is a ResponseWriter that keeps what it is given.
type kept struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (k *kept) Header() http.Header         { return k.header }
func (k *kept) WriteHeader(code int)        { k.code = code }
func (k *kept) Write(p []byte) (int, error) { return k.body.Write(p) }

// storedOnly is what there is of a gate in its store.
type storedOnly struct{ keys *registry.Registry }

func (s storedOnly) Registry() (*registry.Registry, error) { return s.keys, nil }
func (s storedOnly) Configured() iter.Seq[*keys.Key]       { return func(func(*keys.Key) bool) {} }
func (s storedOnly) ConfiguredTeam(string) bool            { return false }
func (s storedOnly) ServeUsage(http.ResponseWriter, *http.Request) *control.Problem {
	return control.NewProblem(http.StatusNotImplemented, "usage is told by a gate that runs")
}
func (s storedOnly) State() (control.State, *control.Problem) {
	return nil, control.NewProblem(http.StatusNotImplemented, "its state is told by a gate that runs")
}

package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/amanycodes/pine-gate/internal/gatetest"
)

// chromium is a tab of the browser that all tests share; nil where there is none.
var chromium context.Context

// names are what Chromium's binary is called: Debian's package, others, Chrome.
var names = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

const howToInstall = "there is no Chromium: install Debian's package `chromium` (macOS: brew install --cask chromium)"

func TestMain(m *testing.M) {
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func testMain(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "pine-gate-browser")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	path := find()
	if path == "" {
		if os.Getenv("CI") != "" {
			return 1, errors.New(howToInstall)
		}
		return m.Run(), nil // each test says why it is skipped
	}
	ctx, stop, err := startChromium(path, filepath.Join(dir, "profile"))
	if err != nil {
		return 1, err
	}
	chromium = ctx
	defer stop() // before its profile is removed
	return gatetest.Main(m), nil
}

func find() string {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// startChromium starts the browser with a profile of its own, which asks nobody
// for anything by itself.
func startChromium(path, profile string) (ctx context.Context, stop func(), err error) {
	var said gatetest.Log
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.CombinedOutput(&said),
		chromedp.Headless, chromedp.NoFirstRun, chromedp.DisableGPU,
		chromedp.NoSandbox, // it needs rights that containers and root have not
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("disable-background-timer-throttling", true), // a tab in the back polls, too
		chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true),
	)
	ctx, cancel := chromedp.NewContext(allocator)
	stop = func() {
		_ = chromedp.Cancel(ctx)
		cancel()
		cancelAllocator()
	}
	if err := chromedp.Do(ctx); err != nil {
		stop()
		return nil, nil, fmt.Errorf("starting Chromium: %w\n%s", err, said.String())
	}
	return ctx, stop, nil
}

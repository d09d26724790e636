package browsertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// EnvBrowser names a Chromium or Chrome to use; nothing else is looked for then.
const EnvBrowser = "HALOINGEST_TEST_CHROMIUM"

// ErrNotFound means that this machine has no Chromium that was looked for.
var ErrNotFound = errors.New("no Chromium or Chrome found")

// names under which it is on PATH.
var names = []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "microsoft-edge-stable", "brave-browser", "headless-shell"}

// Find returns the program of a Chromium or Chrome: what EnvBrowser names, else what is on PATH, among the applications of macOS, in
// usual places of Linux, or in CacheDir. The error is ErrNotFound if there is none, and says what to do.
func Find() (string, error) {
	if path := os.Getenv(EnvBrowser); path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("%w: %s: %w", ErrNotFound, EnvBrowser, err)
		}
		return found, nil
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	for _, path := range usual() {
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("%w: run make deps, or name one with %s", ErrNotFound, EnvBrowser)
}

// CacheDir is where a Chromium is unpacked that cannot be installed for all users.
func CacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "haloingest", "chromium"), nil
}

// Launcher is the name of the program in CacheDir.
const Launcher = "chromium"

func usual() []string {
	var list []string
	if runtime.GOOS == "darwin" {
		roots := []string{"/Applications"}
		if home, err := os.UserHomeDir(); err == nil {
			roots = append(roots, filepath.Join(home, "Applications"))
		}
		for _, root := range roots {
			for _, app := range []string{"Chromium", "Google Chrome", "Google Chrome for Testing", "Microsoft Edge", "Brave Browser"} {
				list = append(list, filepath.Join(root, app+".app", "Contents", "MacOS", app))
			}
		}
	}
	list = append(list, "/usr/lib/chromium/chromium", "/usr/lib64/chromium-browser/chromium-browser", "/opt/google/chrome/chrome", "/snap/bin/chromium")
	if cache, err := CacheDir(); err == nil {
		list = append(list, filepath.Join(cache, Launcher))
	}
	return list
}

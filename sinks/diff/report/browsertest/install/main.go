// Command install makes sure that this machine has a Chromium or Chrome for the tests that look at pages, and says what it does. It
// looks for one first, then tries in turn what this user can do here:
//
//   - Debian and its relatives, as root or with sudo that asks for no password: the package "chromium";
//   - the same without any rights: that package and what it needs, downloaded by apt-get and unpacked into a private folder
//     (browsertest.CacheDir), which nothing else uses;
//   - Homebrew: the cask "chromium", or else "google-chrome".
//
// Only tests need it, and they are skipped without it, so where none of that works it says what to do and succeeds. With -check it
// installs and says nothing, and succeeds only if there is a browser.
//
// Usage: go run ./sinks/diff/report/browsertest/install [-check]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"

	"haloingest/sinks/diff/report/browsertest"
)

func main() {
	check := flag.Bool("check", false, "only say, by the exit code, whether there is a browser")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *check {
		if _, err := browsertest.Find(); err != nil {
			os.Exit(1)
		}
		return
	}
	if err := install(ctx, os.Stdout, browsertest.Find, ways()); err != nil {
		fmt.Println("No browser for the tests that look at pages, which will be skipped:", strings.ReplaceAll(err.Error(), "\n", "; "))
		fmt.Printf("Install Chromium or Chrome, or name one with %s.\n", browsertest.EnvBrowser)
	}
}

// way is one way to get a browser onto the machine.
type way struct {
	name string
	do   func(ctx context.Context, out io.Writer) error
}

func install(ctx context.Context, out io.Writer, find func() (string, error), ways []way) error {
	if path, err := find(); err == nil {
		fmt.Fprintln(out, "Browser", path)
		return nil
	} else if os.Getenv(browsertest.EnvBrowser) != "" {
		return err // the user said where it is; another one would not be used
	}
	if len(ways) == 0 {
		return errors.New("neither apt-get nor brew is here")
	}
	var tried []error
	for _, w := range ways {
		fmt.Fprintln(out, "No browser here yet:", w.name)
		if err := w.do(ctx, out); err != nil {
			fmt.Fprintf(out, "That did not work: %v\n", err)
			tried = append(tried, fmt.Errorf("%s: %w", w.name, err))
			continue
		}
		path, err := find()
		if err == nil {
			fmt.Fprintln(out, "Browser", path)
			return nil
		}
		tried = append(tried, fmt.Errorf("%s: done, but %w", w.name, err))
	}
	return errors.Join(tried...)
}

// ways lists what this user can do here, best first.
func ways() []way {
	var list []way
	if _, err := exec.LookPath("apt-get"); err == nil {
		if os.Geteuid() == 0 {
			list = append(list, way{"installing Debian's package chromium", apt(nil)})
		} else if exec.Command("sudo", "-n", "true").Run() == nil {
			list = append(list, way{"installing Debian's package chromium with sudo", apt([]string{"sudo", "-n"})})
		}
		list = append(list, way{"unpacking Debian's package chromium into a private folder", unpack})
	}
	if _, err := exec.LookPath("brew"); err == nil && os.Geteuid() != 0 { // Homebrew refuses root
		for _, cask := range []string{"chromium", "google-chrome"} {
			if runtime.GOOS != "darwin" {
				break // casks are applications of macOS
			}
			list = append(list, way{"installing Homebrew's cask " + cask, func(ctx context.Context, out io.Writer) error {
				return run(ctx, out, "brew", "install", "--cask", cask)
			}})
		}
	}
	return list
}

// apt installs the package, and fonts if there are none: without any, Chromium does not start.
func apt(prefix []string) func(context.Context, io.Writer) error {
	const script = `set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core
`
	return func(ctx context.Context, out io.Writer) error {
		args := append(append([]string{}, prefix...), "sh", "-c", script)
		return run(ctx, out, args[0], args[1:]...)
	}
}

// unpackScript lets apt-get work with lists and archives in a folder of its own ($1) and knows what is installed from dpkg. The programs
// find their libraries through the launcher.
const unpackScript = `set -eu
work=$1
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/root"
apt() {
	apt-get -qq -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" -o Dir::Cache::archives="$work/archives" \
		-o Dir::State::status=/var/lib/dpkg/status -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" "$@"
}
apt update
apt install -y --no-install-recommends --download-only chromium fonts-dejavu-core
for deb in "$work"/archives/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
rm -rf "$work/lists" "$work/archives" "$work"/*.bin
`

func unpack(ctx context.Context, out io.Writer) error {
	cache, err := browsertest.CacheDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(cache), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(cache), ".chromium-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := run(ctx, out, "sh", "-c", unpackScript, "unpack", work); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, browsertest.Launcher), []byte(launcher), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(cache); err != nil {
		return err
	}
	return os.Rename(work, cache)
}

// launcher starts what was unpacked beside it. Without a configuration of its own the font library would find no font there.
const launcher = `#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
root=$here/root
libs=
for dir in $(find "$root/usr/lib" "$root/lib" -type f -name '*.so*' 2>/dev/null | xargs -r -n 1 dirname | sort -u); do libs=$libs$dir:; done
export LD_LIBRARY_PATH="$libs${LD_LIBRARY_PATH:-}"
if [ ! -e /etc/fonts/fonts.conf ]; then
	FONTCONFIG_FILE=$here/fonts.conf
	export FONTCONFIG_FILE
	printf '<?xml version="1.0"?><fontconfig><dir>%s/usr/share/fonts</dir><dir>/usr/share/fonts</dir><cachedir>%s/font-cache</cachedir></fontconfig>\n' "$root" "$here" >"$FONTCONFIG_FILE"
fi
for program in "$root/usr/lib/chromium/chromium" "$root/usr/lib/chromium-browser/chromium-browser"; do
	if [ -x "$program" ]; then exec "$program" "$@"; fi
done
echo "$0: what was unpacked holds no Chromium" >&2
exit 127
`

// run runs a program and shows what it prints only if it fails.
func run(ctx context.Context, out io.Writer, program string, args ...string) error {
	text, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		fmt.Fprintln(out, strings.TrimSpace(string(text)))
		return fmt.Errorf("%s: %w", program, err)
	}
	return nil
}

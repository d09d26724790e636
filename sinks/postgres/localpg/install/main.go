// Command install makes sure that this machine has a PostgreSQL that package localpg can run, and says what it does. It looks for
// one first, then tries in turn what this user can do here:
//
//   - Debian and its relatives, as root or with sudo that asks for no password: the package "postgresql", without the cluster and
//     the service that the package would otherwise set up;
//   - Homebrew: the formula "postgresql@16";
//   - anywhere, without any rights: the server programs that are published for embedding, unpacked into a private folder
//     (localpg.CacheDir).
//
// Usage: go run ./sinks/postgres/localpg/install
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	embedded "github.com/fergusstrange/embedded-postgres"

	"haloingest/sinks/postgres/localpg"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := install(ctx, os.Stdout, ways()); err != nil {
		fmt.Fprintln(os.Stderr, "install PostgreSQL:", err)
		os.Exit(1)
	}
}

// way is one way to get PostgreSQL onto the machine.
type way struct {
	name string
	do   func(ctx context.Context, out io.Writer) error
}

func install(ctx context.Context, out io.Writer, ways []way) error {
	found, err := localpg.Find(ctx)
	if err == nil {
		fmt.Fprintf(out, "PostgreSQL %s in %s\n", found[0].Version, found[0].Dir)
		return nil
	}
	if dir := os.Getenv(localpg.EnvBin); dir != "" {
		return err // the user said where it is; another one would not be used
	}
	var tried []error
	for _, w := range ways {
		fmt.Fprintln(out, "No PostgreSQL here yet:", w.name)
		if err := w.do(ctx, out); err != nil {
			fmt.Fprintf(out, "That did not work: %v\n", err)
			tried = append(tried, fmt.Errorf("%s: %w", w.name, err))
			continue
		}
		found, err := localpg.Find(ctx)
		if err == nil {
			fmt.Fprintf(out, "PostgreSQL %s in %s\n", found[0].Version, found[0].Dir)
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
			list = append(list, way{"installing Debian's package postgresql", apt(nil)})
		} else if exec.Command("sudo", "-n", "true").Run() == nil {
			list = append(list, way{"installing Debian's package postgresql with sudo", apt([]string{"sudo", "-n"})})
		}
	}
	if _, err := exec.LookPath("brew"); err == nil && os.Geteuid() != 0 { // Homebrew refuses root
		list = append(list, way{"installing Homebrew's postgresql@16", func(ctx context.Context, out io.Writer) error {
			return run(ctx, out, "brew", "install", "postgresql@16")
		}})
	}
	return append(list, way{"unpacking server programs into a private folder", unpack})
}

// apt installs the server. A snippet that is there only meanwhile keeps the package from making a cluster of its own, which would
// be started now and at every boot.
func apt(prefix []string) func(context.Context, io.Writer) error {
	const script = `set -eu
export DEBIAN_FRONTEND=noninteractive
dir=/etc/postgresql-common/createcluster.d
snippet=$dir/haloingest.conf
mkdir -p "$dir"
trap 'rm -f "$snippet"; rmdir "$dir" 2>/dev/null || true' EXIT
echo 'create_main_cluster = false' > "$snippet"
apt-get update -qq
apt-get install -qq -y --no-install-recommends postgresql
`
	return func(ctx context.Context, out io.Writer) error {
		args := append(append([]string{}, prefix...), "sh", "-c", script)
		return run(ctx, out, args[0], args[1:]...)
	}
}

// run runs a program and shows what it prints only if it fails.
func run(ctx context.Context, out io.Writer, program string, args ...string) error {
	text, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		fmt.Fprintln(out, strings.TrimSpace(string(text)))
		return fmt.Errorf("%s: %w", program, err)
	}
	return nil
}

// unpack fetches the server programs with the library that knows where they are published. It unpacks them only on the way to
// starting a server, so a server is started on a cluster in a temporary folder, and stopped; under root that part fails, as
// PostgreSQL refuses root, and the programs are there all the same.
func unpack(_ context.Context, out io.Writer) error {
	cache, err := localpg.CacheDir()
	if err != nil {
		return err
	}
	// The account that runs the server in place of root must be able to read what root unpacks.
	syscall.Umask(0o022)
	const version = embedded.V16
	target := filepath.Join(cache, string(version))
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(cache, ".unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.Setenv("TMPDIR", work); err != nil { // the library leaves a log there
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	var said strings.Builder
	server := embedded.NewDatabase(embedded.DefaultConfig().Version(version).Port(port).Locale("C").Encoding("UTF8").
		CachePath(filepath.Join(work, "archive")).BinariesPath(filepath.Join(work, "programs")).RuntimePath(filepath.Join(work, "run")).
		StartParameters(map[string]string{"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}).
		Logger(&said))
	startErr := server.Start()
	if startErr == nil {
		if err := server.Stop(); err != nil {
			return fmt.Errorf("stop the server that was started for a check: %w", err)
		}
	}
	if _, err := os.Stat(filepath.Join(work, "programs", "bin", "postgres")); err != nil {
		return fmt.Errorf("fetch PostgreSQL %s: %w", version, startErr)
	}
	if startErr != nil && os.Geteuid() != 0 {
		fmt.Fprintln(out, strings.TrimSpace(said.String()))
		return fmt.Errorf("start PostgreSQL %s for a check: %w", version, startErr)
	}
	if err := os.Chmod(filepath.Join(work, "programs"), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(filepath.Join(work, "programs"), target)
}

func freePort() (uint32, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	addr, ok := ln.Addr().(*net.TCPAddr)
	if err := ln.Close(); err != nil {
		return 0, err
	}
	if !ok {
		return 0, fmt.Errorf("%s is not a TCP address", ln.Addr())
	}
	return uint32(addr.Port), nil
}

package localpg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// layout names the files of one private PostgreSQL; see the package comment for what each is.
type layout struct{ dir string }

func (l layout) cluster() string   { return filepath.Join(l.dir, "cluster") }
func (l layout) sockets() string   { return filepath.Join(l.dir, "s") }
func (l layout) password() string  { return filepath.Join(l.dir, "password") }
func (l layout) port() string      { return filepath.Join(l.dir, "port") }
func (l layout) log() string       { return filepath.Join(l.dir, "server.log") }
func (l layout) startLock() string { return filepath.Join(l.dir, "start.lock") }
func (l layout) useLock() string   { return filepath.Join(l.dir, "use.lock") }

// newLayout makes the folder <dataDir>/postgres if it is not there.
func newLayout(dataDir string) (layout, error) {
	if dataDir == "" {
		dataDir = DefaultDataDir
	}
	abs, err := filepath.Abs(dataDir)
	if err != nil {
		return layout{}, fmt.Errorf("find data directory %s: %w", dataDir, err)
	}
	l := layout{dir: filepath.Join(abs, "postgres")}
	// Under root the account of the server must be able to walk through, which is no more than the right to open what it already
	// knows the name of.
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := os.MkdirAll(filepath.Dir(abs), 0o755); err != nil {
		return layout{}, fmt.Errorf("make data directory: %w", explain(err, abs))
	}
	for _, dir := range []string{abs, l.dir} {
		err := os.Mkdir(dir, mode)
		if err == nil {
			err = os.Chmod(dir, mode) // whatever the umask says
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return layout{}, fmt.Errorf("make data directory: %w", explain(err, dir))
		}
	}
	return l, giveToFolderOwner(l.dir)
}

// explain adds what to do to an error that says that the files belong to somebody else.
func explain(err error, dir string) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	owner := ""
	if info, statErr := os.Stat(dir); statErr == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
			owner = fmt.Sprintf(" (it belongs to user %d, this is user %d)", st.Uid, os.Geteuid())
		}
	}
	return fmt.Errorf("%w: %s cannot be used by this user%s: choose another --data-dir, or give --database-url", err, dir, owner)
}

// writePrivate replaces the file at path, readable by its owner alone, in one step.
func writePrivate(path, text string) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := giveToFolderOwner(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// readPassword returns the password of the role, making it on first use.
func (l layout) readPassword() (string, error) {
	text, err := os.ReadFile(l.password())
	switch {
	case err == nil && strings.TrimSpace(string(text)) != "":
		return strings.TrimSpace(string(text)), nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read the password of the private PostgreSQL: %w", explain(err, l.dir))
	}
	if _, err := os.Stat(filepath.Join(l.cluster(), "PG_VERSION")); err == nil {
		return "", fmt.Errorf("the password file %s of the private PostgreSQL is lost: restore it, or remove %s to begin anew", l.password(), l.dir)
	}
	password := rand.Text()
	if err := writePrivate(l.password(), password+"\n"); err != nil {
		return "", fmt.Errorf("keep the password of the private PostgreSQL: %w", err)
	}
	return password, nil
}

// Ports are chosen below the ranges that Linux (from 32768) and macOS (from 49152) hand to outgoing connections, so that the port
// which was chosen once stays free.
const (
	firstPort = 15433
	lastPort  = 31999
)

// choosePort returns the loopback port to listen on: the one kept from last time if it is free, else another, which it keeps.
func (l layout) choosePort() (int, error) {
	if text, err := os.ReadFile(l.port()); err == nil {
		if port, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && port > 0 && free(port) {
			return port, nil
		}
	}
	for range 1000 {
		port := firstPort + mathrand.IntN(lastPort-firstPort+1)
		if !free(port) {
			continue
		}
		if err := writePrivate(l.port(), strconv.Itoa(port)+"\n"); err != nil {
			return 0, fmt.Errorf("keep the port of the private PostgreSQL: %w", explain(err, l.dir))
		}
		return port, nil
	}
	return 0, fmt.Errorf("found no free port on 127.0.0.1 between %d and %d for the private PostgreSQL", firstPort, lastPort)
}

func free(port int) bool {
	ln, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return ln.Close() == nil
}

// maxSocketPath is what fits into sun_path on macOS (104 bytes with the closing zero); Linux has 4 more, which is not worth a
// difference between the two.
const maxSocketPath = 103

// fitsSocket says whether a socket in dir can be named in sockaddr_un, in unix_socket_directories and in a connection string, both
// of which are lists with commas.
func fitsSocket(dir string) bool {
	return len(dir)+len("/.s.PGSQL.65535") <= maxSocketPath && !strings.ContainsAny(dir, ",\"'\\\n")
}

// socketDir returns the folder for the socket, made ready for the account. home is the folder that the cluster lies in. Where
// l.sockets() has too long a name, it is a symlink to a short private folder below the temporary folder.
func (l layout) socketDir(home string, as account) (string, error) {
	link := l.sockets()
	if target, err := os.Readlink(link); err == nil {
		if usableSocketDir(target, as) && fitsSocket(target) {
			return target, nil
		}
		if err := os.Remove(link); err != nil {
			return "", err
		}
	} else if fitsSocket(link) && home == l.dir {
		return link, makePrivate(link, as)
	} else if err := os.RemoveAll(link); err != nil { // was fit once: the folder has been moved
		return "", err
	}

	dir := filepath.Join(home, "s")
	if home != l.dir && fitsSocket(dir) {
		if err := makePrivate(dir, as); err != nil {
			return "", err
		}
		return dir, os.Symlink(dir, link)
	}
	var errs []error
	for _, temp := range []string{os.TempDir(), "/tmp"} {
		dir, err := os.MkdirTemp(temp, "haloingest-")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !fitsSocket(dir) {
			errs = append(errs, os.Remove(dir), fmt.Errorf("%s is too long a name for a socket", dir))
			continue
		}
		if err := as.give(dir); err != nil {
			return "", err
		}
		return dir, os.Symlink(dir, link)
	}
	return "", fmt.Errorf("find a folder for the socket of the private PostgreSQL: %w", errors.Join(errs...))
}

// usableSocketDir guards against a temporary folder that was cleaned up and made again by somebody else.
func usableSocketDir(dir string, as account) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if as.other {
		return ok && int(st.Uid) == as.uid
	}
	return ok && int(st.Uid) == os.Geteuid()
}

// makePrivate makes dir, open to the account alone.
func makePrivate(dir string, as account) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return as.give(dir)
}

// home returns the folder in which a new cluster is made: l.dir, or, where the account cannot get there, a new folder of its own
// outside of the user's folders.
func (l layout) home(ctx context.Context, as account, program string) (string, error) {
	if as.reaches(ctx, l.dir, program) {
		return l.dir, nil
	}
	places := []string{"/var/lib/haloingest", "/var/tmp"}
	if runtime.GOOS == "darwin" {
		places = []string{"/var/db/haloingest", "/var/tmp"}
	}
	if rel, err := filepath.Rel(os.TempDir(), l.dir); err == nil && filepath.IsLocal(rel) {
		places = []string{os.TempDir()} // what is temporary stays so
	}
	var errs []error
	for _, place := range places {
		if err := os.MkdirAll(place, 0o711); err != nil {
			errs = append(errs, err)
			continue
		}
		dir, err := os.MkdirTemp(place, "haloingest-pg-")
		if err == nil {
			err = os.Chmod(dir, 0o711)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if as.reaches(ctx, dir, program) {
			return dir, nil
		}
		errs = append(errs, os.Remove(dir), fmt.Errorf("account %s cannot use %s", as.name, place))
	}
	return "", fmt.Errorf("find a folder that account %s can use: %w", as.name, errors.Join(errs...))
}

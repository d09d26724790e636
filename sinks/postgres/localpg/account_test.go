package localpg_test

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"haloingest/sinks/postgres/localpg"
)

// Run by an ordinary user, every other test shows that an ordinary user can; these show what root adds.

func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it is about what root does for another account")
	}
}

func ownerOf(t *testing.T, path string) int {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

// nobody is an account that may do nothing special.
func nobody(t *testing.T) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// ownDir is a data directory that belongs to the account.
func ownDir(t *testing.T, as *syscall.Credential) string {
	t.Helper()
	dir := dataDir(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestUnderRootTheServerRunsAsAnotherAccountInTheDataDirectory(t *testing.T) {
	t.Parallel()
	asRoot(t)
	dir := dataDir(t)
	server := start(t, localpg.Options{DataDir: dir})
	cluster := filepath.Join(dir, "postgres", "cluster")
	if info, err := os.Lstat(cluster); err != nil || !info.IsDir() {
		t.Errorf("the cluster is not in the data directory: %v, %v", info, err)
	}
	if ownerOf(t, cluster) == 0 || ownerOf(t, "/proc/"+strconv.Itoa(server.PID())) == 0 {
		t.Error("the server belongs to root")
	}
	for _, secret := range []string{"password"} {
		info, err := os.Stat(filepath.Join(dir, "postgres", secret))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", secret, info, err)
		}
	}
}

func TestUnderRootAClosedFolderStaysClosedAndTheClusterIsKeptElsewhere(t *testing.T) {
	t.Parallel()
	asRoot(t)
	dir := dataDir(t)
	closed := filepath.Dir(dir)
	chmod(t, closed, 0o700)
	t.Cleanup(func() {
		if target, err := os.Readlink(filepath.Join(dir, "postgres", "cluster")); err == nil {
			os.RemoveAll(filepath.Dir(target))
		}
	})
	server := start(t, localpg.Options{DataDir: dir})
	query(t, server.URL(), "CREATE TABLE kept AS SELECT 7 AS a")
	pid := server.PID()
	server.Close()
	if runs(pid) {
		t.Error("the server still runs")
	}
	if info, err := os.Stat(closed); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder was opened: %v, %v", info.Mode(), err)
	}
	target, err := os.Readlink(filepath.Join(dir, "postgres", "cluster"))
	if err != nil || strings.HasPrefix(target, closed) {
		t.Errorf("the cluster is in %s, %v", target, err)
	}
	first := startUser(t, dir)
	second := startUser(t, dir)
	if got := query(t, second.URL, "SELECT a FROM kept"); got != "7" || first.PID != second.PID {
		t.Errorf("read back %q from %+v beside %+v", got, second.told, first.told)
	}
	first.leave()
	second.leave()
	if runs(second.PID) {
		t.Error("the server still runs")
	}
}

func TestAnOrdinaryUserRunsTheServerAndRootMayVisit(t *testing.T) {
	t.Parallel()
	asRoot(t)
	as := nobody(t)
	dir := ownDir(t, as)
	ordinary := func() *client {
		u, from := launch(t, dir, as)
		u.hear(from)
		if u.Err != "" {
			t.Fatal(u.Err)
		}
		return u
	}
	u := ordinary()
	if got := ownerOf(t, "/proc/"+strconv.Itoa(u.PID)); got != int(as.Uid) {
		t.Errorf("the server belongs to user %d, want %d", got, as.Uid)
	}
	query(t, u.URL, "CREATE TABLE kept AS SELECT 7 AS a")
	visitor := startUser(t, dir)
	if visitor.PID != u.PID {
		t.Errorf("root got %+v beside %+v", visitor.told, u.told)
	}
	u.leave()
	visitor.leave()
	for _, name := range []string{"port", "server.log", "use.lock", "start.lock"} {
		if err := os.Remove(filepath.Join(dir, "postgres", name)); err != nil {
			t.Fatal(err)
		}
	}
	visitor = startUser(t, dir) // root starts it this time, and makes these files
	if got := ownerOf(t, "/proc/"+strconv.Itoa(visitor.PID)); got != int(as.Uid) {
		t.Errorf("the server belongs to user %d, want %d", got, as.Uid)
	}
	visitor.leave()
	u = ordinary()
	if got := query(t, u.URL, "SELECT a FROM kept"); got != "7" {
		t.Errorf("read back %q", got)
	}
	u.leave()
}

func TestAnOrdinaryUserIsToldThatADirectoryBelongsToSomebodyElse(t *testing.T) {
	t.Parallel()
	asRoot(t)
	dir := dataDir(t)
	start(t, localpg.Options{DataDir: dir}).Close()
	if err := os.Mkdir(filepath.Join(filepath.Dir(dir), "closed"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"root's": dir, "one below a closed folder": filepath.Join(filepath.Dir(dir), "closed", "data")} {
		u, from := launch(t, target, nobody(t))
		u.hear(from)
		if !strings.Contains(u.Err, "permission denied") || !strings.Contains(u.Err, "--data-dir") {
			t.Errorf("%s: got %q", name, u.Err)
		}
		u.cmd.Wait()
	}
}

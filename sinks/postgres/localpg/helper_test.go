package localpg_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/sinks/postgres/localpg"
)

// The tests of sharing need real processes, which they get by running this test binary once more: with this variable set it uses the
// private PostgreSQL of the directory it names, says what it got, and closes it when its standard input ends.
const envUse = "LOCALPG_TEST_USE"

// With this one set as well, the process keeps nothing but the address of the server, and does not close it.
const envForget = "LOCALPG_TEST_FORGET"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envUse); dir != "" {
		os.Exit(use(dir))
	}
	code := m.Run()
	if dir := madeDir; dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// made is a stopped server, made once and copied for the tests that are not about making one, as that takes a second of processor
// time and hundreds of fsyncs.
var (
	madeDir string
	made    = sync.OnceValues(func() (string, error) {
		var err error
		if madeDir, err = os.MkdirTemp("", "lpg"); err != nil {
			return "", err
		}
		if err := os.Chmod(madeDir, 0o755); err != nil {
			return "", err
		}
		dir := filepath.Join(madeDir, "data")
		server, err := localpg.Start(context.Background(), localpg.Options{DataDir: dir, Throwaway: true})
		if err != nil {
			return "", err
		}
		return dir, server.Close()
	})
)

// madeData is a new data directory with a server that is ready to be started.
func madeData(t *testing.T) string {
	t.Helper()
	from, err := made()
	if err != nil {
		needsPostgres(t, err)
	}
	dir := dataDir(t)
	if out, err := exec.Command("cp", "-a", from, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Each copy looks for a port of its own.
	if err := os.Remove(filepath.Join(dir, "postgres", "port")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func needsPostgres(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, localpg.ErrNotFound) && os.Getenv("HALOINGEST_TEST_REQUIRE_POSTGRES") == "" {
		t.Skipf("needs a real PostgreSQL: %v", err)
	}
	t.Fatal(err)
}

// told is what a user process says about the server it got.
type told struct {
	URL, TCPURL, Err string
	PID              int
	Adopted          bool
}

func use(dir string) int {
	server, err := localpg.Start(context.Background(), localpg.Options{DataDir: dir})
	t := told{}
	if err != nil {
		t.Err = err.Error()
	} else {
		t = told{URL: server.URL(), TCPURL: server.TCPURL(), PID: server.PID(), Adopted: server.Adopted()}
	}
	forget := os.Getenv(envForget) != ""
	if forget {
		server = nil
		runtime.GC() // runs the cleanups of what nobody refers to
		runtime.GC()
	}
	if err := json.NewEncoder(os.Stdout).Encode(t); err != nil || t.Err != "" {
		return 1
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return 1
	}
	if forget {
		return 0
	}
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// client is a process that uses a private PostgreSQL.
type client struct {
	told
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
}

// launch starts a user process without waiting for it to have the server; hear does that.
func launch(t *testing.T, dir string, as *syscall.Credential, env ...string) (*client, *bufio.Reader) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if as != nil { // the folder of a test binary is closed to other accounts
		program = openCopy(t, program)
	}
	cmd := exec.Command(program)
	cmd.Dir = "/"
	cmd.Env = append(append(os.Environ(), envUse+"="+dir), env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	u := &client{t: t, cmd: cmd, stdin: stdin}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			stdin.Close()
			cmd.Wait()
		}
	})
	return u, bufio.NewReader(stdout)
}

func (u *client) hear(from *bufio.Reader) {
	u.t.Helper()
	line, err := from.ReadBytes('\n')
	if err != nil {
		u.t.Fatalf("read what the user process says: %v", err)
	}
	if err := json.Unmarshal(line, &u.told); err != nil {
		u.t.Fatal(err)
	}
}

func startUser(t *testing.T, dir string) *client {
	t.Helper()
	u, from := launch(t, dir, nil)
	u.hear(from)
	if u.Err != "" {
		t.Fatal(u.Err)
	}
	return u
}

// leave ends the process in order.
func (u *client) leave() {
	u.t.Helper()
	u.stdin.Close()
	if err := u.cmd.Wait(); err != nil {
		u.t.Fatalf("user process: %v", err)
	}
}

// kill ends the process as kill -9 does.
func (u *client) kill() {
	u.t.Helper()
	if err := u.cmd.Process.Kill(); err != nil {
		u.t.Fatal(err)
	}
	u.cmd.Wait()
}

// dataDir is a new data directory which the account that runs the server for root can walk to. What it holds at the end of the test
// is stopped.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(openDir(t), "data")
	t.Cleanup(func() {
		if unused, err := localpg.StopUnused(context.Background(), localpg.Options{DataDir: dir}); err != nil || !unused {
			t.Errorf("stop what the test left running: unused %v, %v", unused, err)
		}
	})
	return dir
}

// openDir is a temporary folder with a short name that every account can walk to.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func openCopy(t *testing.T, program string) string {
	t.Helper()
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(openDir(t), "user")
	if err := os.WriteFile(to, text, 0o755); err != nil {
		t.Fatal(err)
	}
	chmod(t, to, 0o755) // whatever the umask says
	return to
}

func start(t *testing.T, opts localpg.Options) *localpg.Server {
	t.Helper()
	server, err := localpg.Start(context.Background(), opts)
	if err != nil {
		needsPostgres(t, err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// query runs sql on a connection of its own and returns the one text it gives.
func query(t *testing.T, url, sql string) string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	texts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) { return string(row.RawValues()[0]), nil })
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(texts, "\n")
}

// runs says whether the process runs, without taking a zombie for one that does.
func runs(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		return !strings.Contains(string(stat), ") Z ")
	}
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		return false
	}
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(string(out), "Z")
}

// gone waits until the process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); runs(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d still runs", pid)
		}
	}
}

func killServer(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, pid)
}

package localpg_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"haloingest/sinks/postgres/localpg"
)

func TestBothAddressesLeadToTheDatabaseAndNeitherOpensWithoutThePassword(t *testing.T) {
	t.Parallel()
	server := start(t, localpg.Options{DataDir: madeData(t)})
	for name, address := range map[string]string{"Unix socket": server.URL(), "loopback": server.TCPURL()} {
		got := query(t, address, "SELECT current_database() || ' ' || (inet_server_addr() IS NULL)")
		if want := "haloingest " + map[bool]string{true: "true", false: "false"}[name == "Unix socket"]; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(u.User.Username(), "wrong")
		_, err = pgx.Connect(context.Background(), u.String())
		if refused := (*pgconn.PgError)(nil); !errors.As(err, &refused) || refused.Code != "28P01" {
			t.Errorf("%s with a wrong password: %v", name, err)
		}
	}
	if addresses, err := net.InterfaceAddrs(); err == nil {
		_, port, _ := net.SplitHostPort(mustParse(t, server.TCPURL()).Host)
		for _, address := range addresses {
			if ip, ok := address.(*net.IPNet); ok && !ip.IP.IsLoopback() {
				if conn, err := net.Dial("tcp", net.JoinHostPort(ip.IP.String(), port)); err == nil {
					conn.Close()
					t.Errorf("the server can be reached from other machines, on %s", ip.IP)
				}
			}
		}
	}
}

func mustParse(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestTheServerIsSetUpForLoadingAndKeepsWhatIsCommitted(t *testing.T) {
	t.Parallel()
	server := start(t, localpg.Options{DataDir: dataDir(t), Settings: map[string]string{"work_mem": "7MB"}})
	got := map[string]string{}
	want := map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "jit": "off", "listen_addresses": "127.0.0.1",
		"max_connections": "64", "shared_buffers": "256MB", "max_wal_size": "2GB", "data_checksums": "on", "server_encoding": "UTF8",
		"lc_collate": "C", "work_mem": "7MB", "TimeZone": "GMT",
	}
	for name := range want {
		if name == "lc_collate" { // a setting no more from PostgreSQL 16 on
			got[name] = query(t, server.URL(), "SELECT datcollate FROM pg_database WHERE datname = current_database()")
			continue
		}
		got[name] = query(t, server.URL(), "SHOW "+name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	// What the build offers is what it uses.
	if offered := query(t, server.URL(), "SELECT ('lz4' = ANY (enumvals))::text FROM pg_settings WHERE name = 'default_toast_compression'"); offered == "true" {
		if got := query(t, server.URL(), "SHOW default_toast_compression"); got != "lz4" {
			t.Errorf("the build has lz4, and default_toast_compression is %s", got)
		}
	}
}

func TestADataDirectoryWithALongNameGetsAShortSocketThatStaysOverARestart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(dataDir(t), strings.Repeat("long/", 30)+"end")
	t.Cleanup(func() {
		if target, err := os.Readlink(filepath.Join(dir, "postgres", "s")); err == nil {
			os.RemoveAll(target)
		}
	})
	server := start(t, localpg.Options{DataDir: dir})
	address := server.URL()
	if got := query(t, address, "SELECT (inet_server_addr() IS NULL)::text"); got != "true" {
		t.Errorf("got %q over the socket", got)
	}
	socket := mustParse(t, address).Query().Get("host")
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if len(socket) > 80 || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket is in %s (%v)", socket, info.Mode())
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if again := start(t, localpg.Options{DataDir: dir}); again.URL() != address {
		t.Error("the address changed over a restart")
	}
}

func TestADataDirectoryWithAnAwkwardNameOrOneThatWasMovedWorks(t *testing.T) {
	t.Parallel()
	top := dataDir(t)
	dir := filepath.Join(top, "it's 100%, \"ours\" & bö")
	server := start(t, localpg.Options{DataDir: dir})
	t.Cleanup(func() {
		if target, err := os.Readlink(filepath.Join(dir, "postgres", "s")); err == nil {
			os.RemoveAll(target)
		}
	})
	query(t, server.URL(), "CREATE TABLE kept AS SELECT 7 AS a")
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(top, "elsewhere")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	server = start(t, localpg.Options{DataDir: moved})
	if got := query(t, server.URL(), "SELECT a FROM kept"); got != "7" {
		t.Errorf("read back %q", got)
	}
	dir = moved
}

func TestThePortIsKeptUnlessItIsTaken(t *testing.T) {
	t.Parallel()
	dir := madeData(t)
	server := start(t, localpg.Options{DataDir: dir})
	first := mustParse(t, server.TCPURL()).Host
	server.Close()
	server = start(t, localpg.Options{DataDir: dir})
	if again := mustParse(t, server.TCPURL()).Host; again != first {
		t.Errorf("the port changed from %s to %s", first, again)
	}
	server.Close()
	squatter, err := net.Listen("tcp4", first)
	if err != nil {
		t.Fatal(err)
	}
	defer squatter.Close()
	server = start(t, localpg.Options{DataDir: dir})
	second := mustParse(t, server.TCPURL()).Host
	if second == first {
		t.Errorf("the port is still %s", second)
	}
	for _, address := range []string{server.URL(), server.TCPURL()} {
		if got := query(t, address, "SELECT 1"); got != "1" {
			t.Errorf("%s answers %q", second, got)
		}
	}
}

func TestAnErrorSaysWhatIsWrongInOneLine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, dir string) // dir is that of a stopped server
		want  []string
	}{
		{"the cluster is open to others", func(t *testing.T, dir string) {
			chmod(t, filepath.Join(dir, "cluster"), 0o777)
		}, []string{"invalid permissions", "server.log"}},
		{"the configuration is broken", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "cluster", "postgresql.auto.conf"), "no_such_setting = 1\n")
		}, []string{"no_such_setting", "server.log"}},
		{"the cluster is of a version that is not here", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "cluster", "PG_VERSION"), "12\n")
		}, []string{"made by PostgreSQL 12", "install PostgreSQL 12"}},
		{"the password file is lost", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "password")); err != nil {
				t.Fatal(err)
			}
		}, []string{"password", "lost", "restore it"}},
		{"the password is another one", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "password"), "wrong\n")
		}, []string{"log in to server process", "password authentication failed"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := madeData(t)
			test.spoil(t, filepath.Join(dir, "postgres"))
			server, err := localpg.Start(context.Background(), localpg.Options{DataDir: dir})
			if err == nil {
				server.Close()
				t.Fatal("it started")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has several lines: %q", err)
			}
		})
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAThrowawayClusterThatDoesNotStartIsMadeAnew(t *testing.T) {
	t.Parallel()
	dir := madeData(t)
	if err := os.Truncate(filepath.Join(dir, "postgres", "cluster", "global", "pg_control"), 0); err != nil {
		t.Fatal(err)
	}
	server := start(t, localpg.Options{DataDir: dir, Throwaway: true})
	if got := query(t, server.URL(), "SHOW fsync"); got != "off" {
		t.Errorf("fsync is %s", got)
	}
}

func TestAStartThatIsCancelledLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	dir := madeData(t)
	for after := time.Duration(0); after < 150*time.Millisecond; after += 15 * time.Millisecond {
		ctx, cancel := context.WithTimeout(context.Background(), after)
		server, err := localpg.Start(ctx, localpg.Options{DataDir: dir})
		cancel()
		if err == nil { // it was quicker
			server.Close()
		}
		used, err := localpg.InUse(dir)
		_, statErr := os.Stat(filepath.Join(dir, "postgres", "cluster", "postmaster.pid"))
		if used || err != nil || statErr == nil {
			t.Errorf("cancelled after %v: in use %v (%v), pid file: %v", after, used, err, statErr)
		}
	}
	if got := query(t, start(t, localpg.Options{DataDir: dir}).URL(), "SELECT 1"); got != "1" {
		t.Errorf("afterwards the server answers %q", got)
	}
}

func TestAServerThatDoesNotStopInOrderIsStoppedAtOnce(t *testing.T) {
	t.Parallel()
	server := start(t, localpg.Options{DataDir: madeData(t), StopTimeout: 200 * time.Millisecond})
	checkpointer, err := strconv.Atoi(query(t, server.URL(), "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(checkpointer, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if runs(server.PID()) {
		t.Error("the server still runs")
	}
	if err := server.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

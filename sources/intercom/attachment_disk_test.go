//go:build unix

package intercom_test

import (
	"errors"
	"os/signal"
	"syscall"
	"testing"

	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// A full disk ends the run and leaves whole files only; with room again, the same folder goes on. A limit on the size of files stands
// in for the disk: writes fail half-way in the same manner.
func TestAFullDiskEndsTheRunAndLeavesNothingHalf(t *testing.T) {
	s := intercomtest.Start(t, withFiles(intercomtest.Options{FileSize: 200_000}))
	c := connect(t, s)
	b := naming(t, c)
	dir := t.TempDir()
	a := attachmentsOf(t, c, dir)

	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	small := was
	small.Cur = 100_000
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	_, err := a.Write(t.Context(), b)
	if rerr := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); rerr != nil {
		t.Fatal(rerr)
	}
	if !errors.Is(err, intercom.ErrFolder) || !errors.Is(err, syscall.EFBIG) {
		t.Errorf("the error is %v, want ErrFolder and the disk's own", err)
	}
	allSaved(t, s, dir, told(t, attachmentsOf(t, c, dir), b))
}

package parquet_test

import (
	"path/filepath"
	"testing"

	"haloingest/sinks/parquet"
	"haloingest/sinks/parquet/storetest"
)

func TestAFolderIsAStore(t *testing.T) {
	d, err := parquet.NewDir(filepath.Join(t.TempDir(), "made", "snap shot ü"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	storetest.Run(t, d)
}

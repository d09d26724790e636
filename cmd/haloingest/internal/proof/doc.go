// Package proof holds the comparing engine to what the loader really does: its tests load random histories through the PostgreSQL sink and compare
// the tables with what was sent, before and after faults are planted by plain SQL. It has no code of its own.
package proof

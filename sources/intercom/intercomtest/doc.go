// Package intercomtest is a simulated Intercom workspace behind the REST API.
package intercomtest

package storetest

// Promises are the names of the subtests that Run has.
func Promises() []string {
	names := []string{"handles", "outage", "restart"}
	for _, p := range promises {
		names = append(names, "records/"+p.name)
	}
	return names
}

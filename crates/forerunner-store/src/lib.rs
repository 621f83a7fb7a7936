//! Where Forerunner keeps tasks, results, contexts and history: memory and SQLite behind one trait.

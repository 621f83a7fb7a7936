use forerunner_sim::*;
use forerunner_core::placement::RestoreCost;
fn main(){
  let a:Vec<String>=std::env::args().collect();
  let trace=Trace::read(&a[1]).unwrap();
  let mut load=PlacementLoad::read(&trace,&a[2],None).unwrap();
  let n:usize=a[3].parse().unwrap(); if n>0 {load=load.first(n);}
  let agents:u32=a[4].parse().unwrap(); let cache:f64=a[5].parse().unwrap();
  let serial=a.get(7).is_some();
  for r in a[6].split(','){ let r:f64=r.parse().unwrap();
   for shared in [false,true]{
   for p in PlacementPolicy::ALL { if shared && p!=PlacementPolicy::Ours {continue}
    let t=std::time::Instant::now();
    let s=PlacementReplay{agents,cache_bytes:(cache*1e6) as u64,shared_store:shared,restore:RestoreCost{fixed_s:0.005,s_per_byte:r*1e-6},one_of_a_context:serial};
    let x=replay_placement(&load,p,&s,|_|());
    println!("r={r} shared={shared} {:20} hit {:.1} limit {:.1} share {:.1} moved {:.0}MB wait {:.3} restore {:.3} w+r {:.3} p99 {:.1} longest {:.1} held {} took {:?}",x.policy,x.hit_share*100.,x.hit_limit*100.,x.share_of_limit*100.,x.moved_bytes as f64/1e6,x.wait_s,x.restore_s,x.wait_and_restore_s,x.wait_and_restore_p99_s,x.longest_wait_s,x.held_tasks,t.elapsed());
   }}}
}
